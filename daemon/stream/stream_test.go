package stream

import (
	"testing"

	"pgregory.net/rapid"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	stored := &Head{Version: 10, AsOf: 100, Digest: [16]byte{1}, List: 2, State: Live}
	for _, c := range []struct {
		name      string
		r         Head
		confirmed bool
		want      Verdict
	}{
		{"newer", Head{Version: 11, AsOf: 90, State: Live}, false, Replace},
		{"same content", Head{Version: 10, AsOf: 200, Digest: [16]byte{1}, List: 2, State: Live}, false, Same},
		{"other content, read later", Head{Version: 10, AsOf: 101, Digest: [16]byte{2}, List: 2, State: Live}, false, Replace},
		{"other content, read before", Head{Version: 10, AsOf: 99, Digest: [16]byte{2}, List: 2, State: Live}, false, Same},
		{"archived, read later", Head{Version: 10, AsOf: 101, Digest: [16]byte{1}, List: 2, State: Archived}, false, Replace},
		{"an older property list", Head{Version: 10, AsOf: 101, Digest: [16]byte{2}, List: 1, State: Live}, false, Older},
		{"a newer property list", Head{Version: 10, AsOf: 99, Digest: [16]byte{2}, List: 3, State: Live}, false, Replace},
		{"older", Head{Version: 9, AsOf: 200, Digest: [16]byte{2}, List: 2, State: Live}, false, Older},
		{"older, confirmed", Head{Version: 9, AsOf: 200, Digest: [16]byte{2}, List: 2, State: Live}, true, Regress},
		{"older, confirmed by a read before", Head{Version: 9, AsOf: 50, Digest: [16]byte{2}, List: 2, State: Live}, true, Older},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := Judge(stored, &c.r, c.confirmed); got != c.want {
				t.Fatalf("verdict %d, want %d", got, c.want)
			}
		})
	}
	away := &Head{Version: 12, AsOf: 100, State: Merged, MergedInto: "7"}
	for _, version := range []int64{11, 12, 13} {
		if got := Judge(away, &Head{Version: version, AsOf: 200, State: Archived}, true); got != Same {
			t.Errorf("what was merged, given as archived in version %d: verdict %d", version, got)
		}
	}
	since := func(asOf int64, at string) *Head {
		return &Head{Version: 10, AsOf: asOf, State: Archived, ArchivedAt: at}
	}
	binned := since(100, "2026-11-03T00:00:00Z")
	for at, want := range map[string]Verdict{"2026-11-03T00:00:00.000Z": Same, "": Same, "2026-11-03T00:00:00.001Z": Replace} {
		if got := Judge(binned, since(200, at), false); got != want {
			t.Errorf("archived again at %q: verdict %d, want %d", at, got, want)
		}
	}
	if got := Judge(binned, since(99, "2026-11-02T00:00:00Z"), false); got != Same {
		t.Errorf("archived at another time, read before: verdict %d", got)
	}
	if got := Judge(nil, &Head{}, false); got != Insert {
		t.Fatalf("the first reading: %d", got)
	}
}

// Readings of one history, in any order and repeated, leave the newest.
func TestJudgeConverges(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		readings := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Head {
			v := rapid.Int64Range(1, 5).Draw(t, "version")
			return Head{Version: v, AsOf: v*10 + rapid.Int64Range(0, 9).Draw(t, "late"), Digest: [16]byte{byte(v)}, State: Live}
		}), 1, 30).Draw(t, "readings")
		var stored *Head
		newest := int64(0)
		for _, r := range readings {
			if Judge(stored, &r, false).Stores() {
				stored = &r
			}
			newest = max(newest, r.Version)
		}
		if stored.Version != newest {
			t.Fatalf("kept %d of %d", stored.Version, newest)
		}
	})
}

func TestPropertyLists(t *testing.T) {
	t.Parallel()
	s := &Stream{}
	if _, ok := s.Generation("a"); ok || s.CurrentList() != "" {
		t.Fatal("a stream without a list has one")
	}
	last := uint32(0)
	for i := range 40 {
		hash := string(rune('a' + i))
		s.UseList(hash)
		s.UseList(hash)
		g, ok := s.Generation(hash)
		if !ok || i > 0 && g != last+1 {
			t.Fatalf("list %d has generation %d after %d", i, g, last)
		}
		last = g
	}
	if len(s.Lists) != keptLists {
		t.Fatalf("%d lists are kept", len(s.Lists))
	}
	if _, ok := s.Generation("a"); ok {
		t.Fatal("the first of 40 lists is still told apart")
	}
}

func TestCompleteUntil(t *testing.T) {
	t.Parallel()
	s := &Stream{Cursor: 100}
	if s.CompleteUntil() != 0 {
		t.Error("complete before the first backfill")
	}
	s.Backfilled = true
	if s.CompleteUntil() != 100 {
		t.Error("nothing to settle: complete until the cursor")
	}
	s.Windows = []Window{{Lo: 40, Hi: 60}, {Lo: 60, Hi: 100}}
	if s.CompleteUntil() != 40 {
		t.Error("complete beyond a window that is still to settle")
	}
	c := s.Clone()
	c.Windows[0].Lo = 1
	if s.Windows[0].Lo != 40 {
		t.Error("a clone shares its windows")
	}
}
