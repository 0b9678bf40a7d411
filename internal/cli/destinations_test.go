package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// What was compared is said, and of what is not equal how it is mended.
func TestCheckTable(t *testing.T) {
	t.Parallel()
	live := map[string]uint64{"live": 2}
	x := client.DestinationCheck{Name: "warehouse", Streams: []client.DestinationChecked{
		{Stream: "contacts", Table: "people", Equal: false, Stored: live, Written: live, StoredDigest: "a", WrittenDigest: "a", Remarks: []string{"column n: it stays"},
			Versions: &client.DestinationCheckedVersions{Table: "contacts__versions", Stored: live, Written: live, StoredDigest: "a", WrittenDigest: "b",
				StoredBefore: 3, WrittenBefore: 2, Beyond: 4, Skipped: []string{"b"}}},
		{Stream: "deals", Table: "bargains", Stored: live, Written: map[string]uint64{"live": 1}},
		{Stream: "tasks", Note: "it is paused"},
	}}
	var b bytes.Buffer
	if err := checkTable(&b, x); err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`STREAM    TABLE               STORED        WRITTEN       RESULT
contacts  people              2 live        2 live        equal
contacts  contacts__versions  2 live        2 live        other values
contacts  contacts__versions  3 superseded  2 superseded  differs
deals     bargains            2 live        1 live        differs
tasks                         0 live        0 live        not compared

people: column n: it stays
contacts__versions: 4 superseded versions of which the store has nothing any
  more are not compared
contacts__versions: not compared, since the type is another than in people: b
people: what differs is mended by ^hubpipe destinations resync warehouse
  contacts^
bargains: what differs is mended by ^hubpipe destinations resync warehouse
  deals^
tasks: it is paused
`, "^", "`")
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

// What is written anew, and what is not taken away, is said below the table.
func TestDestinationStreams(t *testing.T) {
	t.Parallel()
	x := client.Destination{Name: "lake", Target: "somewhere", State: client.DestinationRunning, Streams: []client.DestinationStream{
		{Stream: "contacts", Reread: &client.Reread{Reason: client.RereadResync, Position: 10, Until: 200, Anew: 2, Why: "somebody else has written"}},
		{Stream: "deals", Untidy: &client.Problem{Title: "old files stay", Detail: "it is refused", Hint: "let the key delete"}},
	}}
	var b bytes.Buffer
	if err := destinationStreams(&b, x, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"resync, 10 of 200, begun 3 times", "contacts is written anew from the beginning once more: somebody else has written\n",
		"deals: old files stay: it is refused\n  hint: let the key delete\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("it lacks %q:\n%s", want, b.String())
		}
	}
}
