// Package config reads hubpipe.hcl: what it may say, what holds where it says
// nothing, and everything that is wrong with it, at once, with file and line.
// It is the one package that knows HCL.
package config

import "time"

// Config is a configuration that has been checked in full: names are unique,
// every stream's portal exists, every value lies in its range. Only what
// Problem fields say may still be missing.
type Config struct {
	// Path is the file that was read, "" when there was none.
	Path string
	// DataDir is absolute and short enough for the sockets in it.
	DataDir      string
	HTTP         HTTP
	Broker       Broker
	Worker       Worker
	Log          Log
	Users        []User
	Portals      []Portal
	Streams      []Stream
	Destinations []Destination
	Notify       []Notify
	// Dashboard is for `hubpipe tui`; the daemon has no use for it.
	Dashboard Dashboard
}

// ClientConfig is what a verb needs that only talks to a daemon.
type ClientConfig struct {
	// Path is the file that was read, "" when there was none.
	Path string
	// DataDir is absolute; the daemon's token and socket are in it.
	DataDir string
	// HTTPListen is the address of the daemon's HTTP API, host:port, and HTTPS
	// whether it has TLS.
	HTTPListen string
	HTTPS      bool
}

// Defaults of the blocks http, broker, worker and log.
const (
	DefaultHTTPListen   = "127.0.0.1:8377"
	DefaultBrokerListen = "127.0.0.1:1883"
	DefaultPrefix       = "hubpipe"
	DefaultChanges      = false
	DefaultMaxPacket    = 1 << 20
	DefaultConcurrency  = 8
	DefaultLogLevel     = "info"
	DefaultLogFormat    = "text"
)

// HTTP is where the API listens over TCP, besides its socket in DataDir.
type HTTP struct {
	// Listen is host:port; port 0 takes a free one. It is a loopback address
	// where TLS is nil.
	Listen string
	TLS    *TLS
	// Hosts are names that a request may call the daemon by, besides those of
	// this machine and of the certificate.
	Hosts []string
}

// TLS are PEM files; a relative path began at the file that names it. A listener has a Certificate and its
// Key; a connection of ours may have neither.
type TLS struct {
	Certificate, Key string
	// CA is who signs the other side's certificates. Where it is empty, a
	// listener takes none, and a connection trusts the system's authorities.
	CA string
}

// Broker is the embedded broker, or the one at URL when that is not empty.
type Broker struct {
	// Listen is host:port, a loopback address where TLS is nil; it is not used
	// with URL.
	Listen string
	// TLS is the listener's, or with URL the connection's; nil for none.
	TLS *TLS
	// URL never holds credentials. Off loopback its scheme has TLS.
	URL      string
	Username string
	Password Secret
	// Prefix is the first levels of every topic.
	Prefix string
	// Changes says whether changes are published on the broker as well.
	Changes bool
	// MaxPacket is the largest MQTT packet that the embedded broker accepts.
	MaxPacket Size
}

// Worker is the worker inside `hubpipe up` and the one of `hubpipe worker`.
type Worker struct {
	// Concurrency is how many attempts it holds at a time, at least 1.
	Concurrency int
	// Name is its name, "" for the name it gives itself.
	Name string
}

// Log says what is logged and how.
type Log struct {
	// Level is trace, debug, info, warn or error.
	Level string
	// Format is text or json.
	Format string
}

// Defaults of a portal.
const (
	DefaultPortal       = "main"
	DefaultBaseURL      = "https://api.hubapi.com"
	DefaultDailyReserve = 0.2
	// TokenVariable is the variable that is enough to run without any file.
	TokenVariable = "HUBSPOT_TOKEN"
)

// Portal is one HubSpot account. It has a Token, an OAuth, or a Problem.
type Portal struct {
	Name  string
	Token Secret
	OAuth *OAuth
	// BaseURL has no slash at its end. Off loopback its scheme is https.
	BaseURL string
	// APIVersion is one of catalogue.Versions, by which alone the portal is
	// asked, "" for the newest of each endpoint with a way back to older ones.
	APIVersion string
	// DailyReserve is the share of HubSpot's daily limit that hubpipe leaves
	// to others, as a fraction: 0.2 is 20%.
	DailyReserve float64
	// Journal and Webhook are nil where the block is missing.
	Journal *Journal
	Webhook *Webhook
	// Problem says why the portal is blocked (a variable is not set), in one
	// line for people; "" when nothing is missing.
	Problem string
}

// OAuth are the credentials of an app that was granted access.
type OAuth struct {
	ClientID                   string
	ClientSecret, RefreshToken Secret
}

// Journal are the credentials for HubSpot's journal of webhooks.
type Journal struct {
	ClientID     string
	ClientSecret Secret
}

// Webhook is what HubSpot signs its webhooks with.
type Webhook struct {
	ClientSecret Secret
}

// Defaults of a stream. Those that are lists are DefaultStream's.
const (
	DefaultInterval          = 5 * time.Minute // of the objects of the CRM
	DefaultTimezone          = "UTC"
	DefaultAutostart         = true
	DefaultTail              = 2 * time.Minute
	DefaultArchivedInterval  = 6 * time.Hour
	DefaultReconcileInterval = 24 * time.Hour
	DefaultMaxDeletes        = 0.02
	// MinInterval is the shortest interval that is accepted.
	MinInterval = time.Second
)

// Stream is one object of one portal: a pair. A block that names several
// portals makes several of them.
type Stream struct {
	// Name is the pair's name: the block's label, or <portal>_<label> when the
	// block chooses more than one portal. No two streams share one.
	Name string
	// Label is the block's label.
	Label string
	// Portal is the name of one of Config.Portals.
	Portal string
	Object string
	// Interval is at least MinInterval, and 0 when Cron is set.
	Interval time.Duration
	// Cron is an expression of five fields in Timezone, "" when Interval is set.
	Cron, Timezone string
	Autostart      bool
	// Properties is {"*"} for all of them, or names. Exclude are patterns as
	// path.Match has them.
	Properties, Exclude             []string
	Associations, History, Volatile []string
	// Named are the properties that the stream's own block names, in properties,
	// exclude or history: HubSpot has to have them. What defaults name need not be
	// there for each object.
	Named []string
	// StartDate leaves out records modified earlier; zero leaves out none.
	StartDate time.Time
	// Parents are the objects, or pairs of objects ("contacts/companies"), that
	// the stream is read for, where its object is something that objects have:
	// pipelines, properties, labels. Those that the portal's streams copy.
	Parents []string
	// Tail is how far before its cursor the newest window begins.
	Tail time.Duration
	// Settle are the ages at which a window is read again, ascending.
	Settle            []time.Duration
	ArchivedInterval  time.Duration
	ReconcileInterval time.Duration
	// MaxDeletes is the share of a stream's live records that one run may end
	// by mere absence, as a fraction: 0.02 is 2%.
	MaxDeletes float64
	// MaxLag is the lag above which people are told that the stream is stale; 0
	// is three intervals.
	MaxLag time.Duration
	// KeepVersions is how long superseded versions are kept for destinations that
	// want every one and are behind; 0 is that there are none of them.
	KeepVersions time.Duration
}

// DefaultStream returns a stream in which every setting has its default. Name,
// Label, Portal and Object are empty.
func DefaultStream() Stream {
	return Stream{
		Interval: DefaultInterval, Timezone: DefaultTimezone, Autostart: DefaultAutostart,
		Properties: []string{"*"}, Exclude: []string{}, Associations: []string{}, History: []string{},
		Volatile: []string{}, Tail: DefaultTail, Settle: []time.Duration{15 * time.Minute, 75 * time.Minute},
		ArchivedInterval: DefaultArchivedInterval, ReconcileInterval: DefaultReconcileInterval,
		MaxDeletes: DefaultMaxDeletes,
	}
}

// Notify is where people are told what is wrong. It has a Webhook, an Exec or a
// Problem.
type Notify struct {
	Name string
	// Webhook is a URL that takes a POST in Format: slack or json.
	Webhook Secret
	Format  string
	// Exec is a program with its arguments; it gets JSON on stdin.
	Exec []string
	// On are the kinds of what is told, none for all.
	On []string
	// After is how long it must have been wrong.
	After time.Duration
	// Problem says why it cannot be used, "" when nothing is missing.
	Problem string
}

// DefaultNotifyAfter is how long a thing must be wrong before people are told.
const DefaultNotifyAfter = 10 * time.Minute

// PortalByName returns the portal of that name.
func (c *Config) PortalByName(name string) (Portal, bool) {
	for _, p := range c.Portals {
		if p.Name == name {
			return p, true
		}
	}
	return Portal{}, false
}

// Blocked says which portals and destinations cannot be used and why, one line
// each; nil when all can.
func (c *Config) Blocked() []string {
	var out []string
	for _, p := range c.Portals {
		if p.Problem != "" {
			out = append(out, "portal "+p.Name+": "+p.Problem)
		}
	}
	for _, d := range c.Destinations {
		if d.Problem != "" {
			out = append(out, "destination "+d.Type+" "+d.Name+": "+d.Problem)
		}
	}
	for _, n := range c.Notify {
		if n.Problem != "" {
			out = append(out, "notify "+n.Name+": "+n.Problem)
		}
	}
	return out
}
