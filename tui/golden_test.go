package tui

import (
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/exp/golden"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// scenes are the states of the dashboard that a person may come to see.
func scenes() map[string]func(b *bench) {
	return map[string]func(b *bench){
		"first":   func(*bench) {},
		"never":   func(b *bench) { b.lose() },
		"empty":   func(b *bench) { b.connect() },
		"streams": func(b *bench) { b.connect(everyState()...); b.press("j", "space", "space") },
		"lost":    func(b *bench) { b.connect(everyState()...); b.lose() },
		"back": func(b *bench) {
			b.connect(everyState()...)
			b.lose()
			b.Update(newsMsg{at: b.now, link: &link{up: true, since: b.now}})
			b.connect(everyState()...)
		},
		"version": func(b *bench) {
			b.connect(everyState()...)
			b.Update(newsMsg{at: b.now, daemon: &client.Daemon{Version: "v0.9.0"}})
			b.press("s")
		},
		"pending": func(b *bench) {
			b.connect(everyState()...)
			b.press("/", "e", "m", "a", "enter")
			b.Update(keyOf("x")) // the answer has not come
		},
		"slowstop": func(b *bench) {
			b.connect(everyState()...)
			b.Update(keyOf("x"))
			b.now = b.now.Add(offerAfter)
			b.Update(tickMsg(b.now))
		},
		"nomatch":   func(b *bench) { b.connect(everyState()...); b.press("/", "x", "y", "enter") },
		"filtering": func(b *bench) { b.connect(everyState()...); b.press("/", "s", "t", "a", "t", "e", ":", "f") },
		"refused":   func(b *bench) { b.connect(everyState()...); b.f.err = errRefused; b.press("r") },
		"reconcile": func(b *bench) { b.connect(everyState()...); b.press("c") },
		"resync":    func(b *bench) { b.connect(everyState()...); b.press("ctrl+a", "R", "8") },
		"detail": func(b *bench) {
			b.connect(everyState()...)
			b.press("enter")
			b.Update(runsMsg{stream: "deals", runs: someRuns()})
		},
		"logs":      func(b *bench) { b.connect(everyState()...); b.press("l") },
		"logsearch": func(b *bench) { b.connect(everyState()...); b.press("l", "/", "p", "a", "t", "enter", "t") },
		"workers":   func(b *bench) { b.connect(everyState()...); b.press("tab") },
		"portals":   func(b *bench) { b.connect(everyState()...); b.press("P") },
		"destinations": func(b *bench) {
			b.connect(everyState()...)
			b.Update(newsMsg{at: b.now, destinations: map[string]client.Destination{"lake": someDestinations()[0], "warehouse": someDestinations()[1]}})
			b.press("D", "j")
		},
		"destinations-none": func(b *bench) { b.connect(everyState()...); b.press("D") },
		"destination-fails": func(b *bench) {
			b.connect(everyState()...)
			b.Update(newsMsg{at: b.now, destinations: map[string]client.Destination{"lake": someDestinations()[0], "warehouse": failingDestination()}})
			b.press("D", "j")
		},
		"warehouse-down": func(b *bench) {
			b.connect(everyState()...)
			b.Update(newsMsg{at: b.now, destinations: map[string]client.Destination{"warehouse": failingDestination()}})
		},
		"spent": func(b *bench) {
			b.connect(everyState()...)
			p := somePortals()[0]
			p.Remaining, p.Limits.BurstUsed = new(int64), p.Limits.Burst
			p.Throttled = &client.Throttled{Reason: "HubSpot's daily limit is used up", Until: &p.DayEnds}
			b.Update(newsMsg{at: b.now, portals: map[string]client.Portal{"main": p}})
		},
		"palette": func(b *bench) { b.connect(everyState()...); b.press(":", "s") },
		"help":    func(b *bench) { b.connect(everyState()...); b.press("?") },
	}
}

var sizes = [][2]int{{80, 24}, {140, 40}, {60, 12}, {30, 8}, {180, 45}}

// TestFrames holds every scene at every size against the picture of it that was
// looked at.
func TestFrames(t *testing.T) {
	t.Parallel()
	for name, scene := range scenes() {
		for _, size := range sizes {
			if size[0] == 180 && name != "streams" && name != "lost" && name != "nomatch" && name != "resync" {
				continue
			}
			if size[0] == 30 && name != "first" && name != "streams" {
				continue
			}
			t.Run(fmt.Sprintf("%s-%dx%d", name, size[0], size[1]), func(t *testing.T) {
				t.Parallel()
				b := newBench(t, size[0], size[1])
				scene(b)
				frame := b.frame()
				fits(t, frame, size[0], size[1])
				lines := strings.Split(ansi.Strip(frame), "\n")
				for i := range lines {
					lines[i] = strings.TrimRight(lines[i], " ")
				}
				golden.RequireEqual(t, strings.Join(lines, "\n")+"\n")
			})
		}
	}
}

// TestThemes keeps the codes of one frame in each theme.
func TestThemes(t *testing.T) {
	t.Parallel()
	for _, name := range Themes() {
		for _, dark := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s-%v", name, dark), func(t *testing.T) {
				t.Parallel()
				b := newBench(t, 140, 24)
				b.connect(everyState()...)
				b.dark = dark
				b.paint(name)
				golden.RequireEqual(t, b.frame()+"\n")
				if name == "mono" && strings.Contains(b.frame(), "\x1b[3") {
					t.Error("a colour")
				}
			})
		}
	}
}

// A state is to be read without any colour.
func TestStatesWithoutColour(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range []string{client.StateBlocked, client.StateFailing, client.StateThrottled, client.StateRunning, client.StateWaiting, client.StateStopped} {
		if x := sign(s); x == "?" || seen[x] {
			t.Errorf("%s has the sign %q", s, x)
		} else {
			seen[x] = true
		}
	}
}

func fits(t tester, frame string, w, h int) {
	t.Helper()
	lines := strings.Split(frame, "\n")
	if len(lines) > h {
		t.Errorf("%d lines of %d:\n%s", len(lines), h, frame)
	}
	for i, s := range lines {
		if n := ansi.StringWidth(s); n > w {
			t.Errorf("line %d has %d cells of %d: %q", i, n, w, ansi.Strip(s))
		}
	}
}

// TestFit holds every scene at every size from the smallest to the largest.
func TestFit(t *testing.T) {
	t.Parallel()
	for name, scene := range scenes() {
		b := newBench(t, 140, 40)
		scene(b)
		for w := 20; w <= 200; w += 3 {
			for h := 1; h <= 70; h += 4 {
				b.Update(tea.WindowSizeMsg{Width: w, Height: h})
				fits(t, b.frame(), w, h)
			}
		}
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

func many(n int) []client.Status {
	out := make([]client.Status, n)
	states := everyState()
	for i := range out {
		out[i] = states[i%len(states)]
		out[i].Name = fmt.Sprintf("portal%02d_%s", i/len(states), out[i].Name)
	}
	return out
}

// BenchmarkFrame is a frame at 140x40.
func BenchmarkFrame(b *testing.B) {
	for _, n := range []int{200, 2000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x := newBench(b, 140, 40)
			x.connect(many(n)...)
			b.ReportAllocs()
			for b.Loop() {
				x.now = x.now.Add(time.Second)
				_ = x.View()
			}
		})
	}
}

// BenchmarkArrange is filter and sort.
func BenchmarkArrange(b *testing.B) {
	x := newBench(b, 140, 40)
	x.connect(many(2000)...)
	x.list.filter = "portal"
	b.ReportAllocs()
	for b.Loop() {
		x.list.arrange(x.pic, noon)
	}
}

// A frame has a bound that a slow machine keeps too; what it takes is the
// benchmark's to say.
func TestFrameIsCheap(t *testing.T) {
	x := newBench(t, 140, 40)
	x.connect(many(2000)...)
	if n := testing.AllocsPerRun(20, func() { _ = x.View() }); n > 1500 {
		t.Errorf("%.0f allocations", n)
	}
}
