package destination

import "testing"

// What is seen first of a property that HubSpot does not define.
func TestTypeSeen(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`{"a":1}`: TypeJSON, `[]`: TypeJSON, `true`: TypeBoolean, `1.5`: TypeNumber, `"word"`: TypeText, `""`: TypeText,
		`"2026-01-02T03:04:05Z"`: TypeTimestamp, `"2026-01-02"`: TypeTimestamp,
		`"41629779155"`: TypeText, `"1767323045678"`: TypeText, `"-1767323045678"`: TypeText, // ids, as far as anybody can tell
	} {
		if got := TypeSeen([]byte(raw)); got != want {
			t.Errorf("%s is %s, want %s", raw, got, want)
		}
	}
}
