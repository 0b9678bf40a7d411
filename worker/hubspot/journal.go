package hubspot

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
)

// HubSpot's journal of webhooks is a list of entries, each a file of events. What
// HubSpot documents of it (webhooks journal, 2026-03):
//
//   - GET /webhooks-journal/journal/2026-03/earliest, /latest and
//     /offset/{offset}/next answer with {url, currentOffset, expiresAt}, or with
//     204 where there is nothing (yet). Entries are kept for three days, an
//     offset that is older or was never one is answered with 404.
//   - url is signed and leads to storage that wants no token.
//   - The file is {offset, journalEvents: […], publishedAt}, of up to 10,000
//     events or 5 MB.
//   - The token is an app's own (client_credentials) with the scope
//     developer.webhooks_journal.read. The requests count in neither the daily nor
//     the ten-second limit.
//   - installPortalId names one of the accounts that have the app.
//
// Assumed, since nothing says it: that an event of the journal may come twice;
// that files may be packed with gzip, marked or not; how often entries are
// published; that 410 means what 404 does.
const (
	journalVersion = "2026-03"
	journalScope   = "developer.webhooks_journal.read"
	// JournalEarliest is the place before all that the journal has.
	JournalEarliest = "earliest"
	// journalRate bounds the requests a second: HubSpot does not.
	journalRate = 5
	// journalFileTime bounds how long a file may take.
	journalFileTime = 30 * time.Second
	// journalBytes bounds a file, as it is sent and unpacked.
	journalBytes = 16 << 20
)

// ErrPlaceLost says that the journal does not know a place any more: what came
// behind it may be lost.
var ErrPlaceLost = errors.New("HubSpot's journal does not know the place any more")

// JournalFileError says that the file of an entry cannot be used. Place is the
// entry's; Passing says that it may be had later, since its storage fails.
type JournalFileError struct {
	Place   string
	Reason  string
	Passing bool
}

func (e *JournalFileError) Error() string {
	return "a file of HubSpot's journal cannot be read: " + e.Reason
}

// JournalApp are the credentials of the app whose journal is read.
type JournalApp struct {
	ClientID     string
	ClientSecret func() string
}

// Journal reads the journal of an app. It has its own token and its own pace, and
// nothing of a portal's limits.
type Journal struct {
	c     *Client
	r     *renewer
	pace  *pacer
	mu    sync.Mutex // one exchange at a time; under it: the token
	token string
	until time.Time // to which it is sent, by the monotonic clock
}

// Journal makes a reader of an app's journal, which has the client's address and
// transport.
func (c *Client) Journal(app JournalApp) *Journal {
	r := newRenewer(OAuth{ClientID: app.ClientID, ClientSecret: app.ClientSecret})
	r.own = true
	pace := newPacer(journalRate, journalRate)
	pace.unpaced = c.burst.unpaced
	return &Journal{c: c.Reporting(nil, func() {}), r: r, pace: pace}
}

// JournalEntry is what lies behind a place: the records that its events name, each
// once. Place is its own, "" where there is nothing yet. Many are objects of
// which it names more records than are read by name. Unread counts events that
// are not understood, Others those of other accounts.
type JournalEntry struct {
	Place          string
	Hints          []JournalHint
	Many           []string
	Events         int
	Unread, Others int
	Published      time.Time // zero where the file does not say
}

// Next reads the entry behind a place: the newest one for "", the first that
// there is for JournalEarliest. Only events of the account count, all of them
// where it is 0. Its errors are ErrPlaceLost, a *JournalFileError, a *Blocked
// where a person has to act, and others that pass.
func (j *Journal) Next(ctx context.Context, place string, account int64) (JournalEntry, error) {
	status, header, body, err := j.ask(ctx, place, account)
	if err == nil && status == http.StatusUnauthorized {
		// It may have been ended before its time.
		j.drop()
		status, header, body, err = j.ask(ctx, place, account)
	}
	if err != nil {
		return JournalEntry{}, err
	}
	switch {
	case status == http.StatusNoContent:
		return JournalEntry{}, nil
	case status != http.StatusOK:
		return JournalEntry{}, j.judge(place, status, header, body)
	}
	var said struct {
		URL           string `json:"url"`
		CurrentOffset string `json:"currentOffset"`
		Offset        string `json:"offset"`
	}
	if json.Unmarshal(body, &said) != nil || said.URL == "" {
		return JournalEntry{}, errors.New("the reply of HubSpot's journal cannot be read")
	}
	at := cmp.Or(said.CurrentOffset, said.Offset)
	if !isPlace(at) {
		return JournalEntry{}, errors.New("the reply of HubSpot's journal names no place")
	}
	if at == place {
		return JournalEntry{}, nil // the entry that was read last: there is no other
	}
	file, err := j.file(ctx, said.URL)
	if err != nil {
		if ctx.Err() != nil {
			return JournalEntry{}, ctx.Err()
		}
		if bad := (*JournalFileError)(nil); errors.As(err, &bad) {
			bad.Place = at
		}
		return JournalEntry{}, err
	}
	entry, err := decodeJournal(file, account)
	if err != nil {
		return JournalEntry{}, &JournalFileError{Place: at, Reason: err.Error()}
	}
	entry.Place = at
	return entry, nil
}

// Ready tells whether the journal is handed out to the app; nothing of it is read.
func (j *Journal) Ready(ctx context.Context) error {
	status, header, body, err := j.ask(ctx, "", 0)
	if err == nil && status != http.StatusOK && status != http.StatusNoContent {
		err = j.judge("", status, header, body)
	}
	return err
}

var placePattern = regexp.MustCompile(`^[A-Za-z0-9_~:=-][A-Za-z0-9_.~:=-]{0,199}$`)

// isPlace tells whether an offset can be one: HubSpot's are UUIDs. It becomes part
// of an address, and must lead nowhere else.
func isPlace(s string) bool { return s != JournalEarliest && placePattern.MatchString(s) }

// ask makes one request to the journal.
func (j *Journal) ask(ctx context.Context, place string, account int64) (int, http.Header, []byte, error) {
	c := j.c
	if c.base == nil {
		return 0, nil, nil, c.noAddress()
	}
	token, err := j.bearer(ctx)
	if err != nil {
		return 0, nil, nil, err
	}
	if err := j.pace.wait(ctx, sleep); err != nil {
		return 0, nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	address := c.at("/webhooks-journal/journal/" + journalVersion)
	switch place {
	case "":
		address.Path += "/latest"
	case JournalEarliest:
		address.Path += "/earliest"
	default:
		address.Path += "/offset/" + place + "/next"
	}
	if account != 0 {
		address.RawQuery = "installPortalId=" + strconv.FormatInt(account, 10)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("build request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "hubpipe")
	c.count("journal")
	began := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, nil, plainError(err)
	}
	defer func() { _ = resp.Body.Close() }()
	c.hear(resp.Header, time.Since(began))
	body, err := io.ReadAll(&bounded{r: resp.Body, left: maxTokenReply})
	if err != nil && resp.StatusCode < 300 {
		return 0, nil, nil, fmt.Errorf("read the journal's reply: %w", err)
	}
	return resp.StatusCode, resp.Header, body, nil
}

// judge says what a refusal of the journal means.
func (j *Journal) judge(place string, status int, h http.Header, body []byte) error {
	e := parseEnvelope(body)
	words := cmp.Or(e.words(), fmt.Sprintf("status %d", status))
	switch {
	case (status == http.StatusNotFound || status == http.StatusGone) && place != "" && place != JournalEarliest:
		return ErrPlaceLost
	case status == http.StatusUnauthorized:
		j.drop()
		return &Blocked{Type: "journal", Detail: "HubSpot's journal does not accept the app's token: " + words, Hint: journalHint}
	case status == http.StatusForbidden:
		return &Blocked{Type: "journal", Detail: "the app may not read HubSpot's journal: " + words,
			Hint: "give the app the scope " + journalScope + " and install it in the account; it is tried again by itself"}
	case status == http.StatusTooManyRequests:
		wait, named := retryAfter(h)
		if !named {
			wait = 10 * time.Second
		}
		j.pace.pause(time.Now().Add(wait))
		return errors.New("HubSpot's journal is asked too often: it waits")
	}
	return fmt.Errorf("HubSpot's journal answers with status %d: %s", status, words)
}

const journalHint = "set client_id and client_secret of the portal's journal block as the app's page shows them, and give the app the scope " +
	journalScope + "; it is tried again by itself"

// bearer returns the app's token, exchanged anew a while before it ends.
func (j *Journal) bearer(ctx context.Context) (string, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.token != "" && time.Now().Before(j.until) {
		return j.token, nil
	}
	j.token = ""
	if j.r.o.ClientID == "" || j.r.o.ClientSecret() == "" {
		return "", &Blocked{Type: "journal", Detail: "the portal's journal lacks a client id or a client secret", Hint: journalHint}
	}
	ctx, cancel := context.WithTimeout(ctx, j.c.timeout)
	defer cancel()
	g, err := j.r.post(ctx, j.c, "")
	if blocked, ok := errors.AsType[*Blocked](err); ok || errors.Is(err, errRefreshRefused) {
		detail := "HubSpot gives no token for its journal"
		if ok {
			detail += ": " + blocked.Detail
		}
		return "", &Blocked{Type: "journal", Detail: detail, Hint: journalHint}
	}
	if err != nil {
		return "", err
	}
	j.token, j.until = g.Access, g.asked.Add(g.life()-g.early(j.c.rand()))
	return j.token, nil
}

func (j *Journal) drop() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.token = ""
}

// file fetches what a signed address leads to: without the token, which storage
// has no business with, and without following where it points. The address is a
// key itself and stands in no error.
func (j *Journal) file(ctx context.Context, address string) ([]byte, error) {
	bad := func(format string, args ...any) error { return &JournalFileError{Reason: fmt.Sprintf(format, args...)} }
	at, err := url.Parse(address)
	if err != nil || at.Host == "" || at.User != nil || at.Scheme != "https" && at.Scheme != j.c.base.Scheme {
		return nil, bad("its address is none, or not one of https")
	}
	ctx, cancel := context.WithTimeout(ctx, min(journalFileTime, j.c.timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, bad("its address is none")
	}
	req.Header.Set("User-Agent", "hubpipe")
	passing := func(format string, args ...any) error {
		return &JournalFileError{Reason: fmt.Sprintf(format, args...), Passing: true}
	}
	resp, err := j.c.http.Do(req)
	if err != nil {
		return nil, passing("%v", plainError(err))
	}
	defer func() { _ = resp.Body.Close() }()
	switch {
	case resp.StatusCode == http.StatusOK:
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return nil, passing("its storage answers with status %d", resp.StatusCode)
	default:
		return nil, bad("its storage answers with status %d", resp.StatusCode)
	}
	most := min(journalBytes, j.c.maxBody)
	body, err := io.ReadAll(&bounded{r: resp.Body, left: most})
	if err != nil && !errors.Is(err, errTooLarge) {
		return nil, passing("%v", err)
	}
	if err == nil {
		body, err = unpacked(body, most)
	}
	if err != nil {
		return nil, bad("%v", err) // it is as it is, however often it is fetched
	}
	return body, nil
}

// unpacked is what is packed with gzip unpacked, within a bound: storage does not
// always say what it holds.
func unpacked(body []byte, most int64) ([]byte, error) {
	if !bytes.HasPrefix(body, []byte{0x1f, 0x8b}) {
		return body, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller says what it was unpacking
	}
	return io.ReadAll(&bounded{r: z, left: most}) //nolint:wrapcheck // as above
}
