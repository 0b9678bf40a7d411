package metrics

import (
	"maps"
	"runtime"
	"slices"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// single reads the one value of a metric without labels.
func single(f func(*Reading) float64) func(*Reading, func(float64, ...string)) {
	return func(r *Reading, put func(float64, ...string)) { put(f(r)) }
}

func daemonRows() []row {
	return []row{
		{"hubpipe_build_info", gauge, "What runs, always 1.", []string{"version", "goversion"},
			func(r *Reading, put func(float64, ...string)) { put(1, r.Version, runtime.Version()) }},
		{"hubpipe_ready", gauge, "1 while the daemon can do its work, as /readyz says.", nil,
			single(func(r *Reading) float64 { return bit(r.Ready) })},
		{"hubpipe_store_commits_total", counter, "Transactions that were ever committed to the store; this one is kept over restarts.", nil,
			single(func(r *Reading) float64 { return float64(r.Commits) })},
		{"hubpipe_store_position", gauge, "The newest place in the change feed, over all streams.", nil,
			single(func(r *Reading) float64 { return float64(r.Position) })},
		{"hubpipe_store_epoch", gauge, "Grows when something that was committed is known to be lost.", nil,
			single(func(r *Reading) float64 { return float64(r.Epoch) })},
		{"hubpipe_store_disk_bytes", gauge, "What the store takes of the disk: its tree (index, notes, ledger) and its log (records).", []string{"part"},
			func(r *Reading, put func(float64, ...string)) {
				if r.Disk != nil {
					put(float64(r.Disk.Tree), "tree")
					put(float64(r.Disk.Log), "log")
				}
			}},
		{"hubpipe_store_free_bytes", gauge, "What is free on the store's disk.", nil,
			func(r *Reading, put func(float64, ...string)) {
				if r.Disk != nil {
					put(float64(r.Disk.Free))
				}
			}},
		{"hubpipe_store_free_mark_bytes", gauge, "How much has to be free: below it nothing is written.", nil,
			func(r *Reading, put func(float64, ...string)) {
				if r.Disk != nil {
					put(float64(r.Disk.FreeMark))
				}
			}},
		{"hubpipe_broker_connected", gauge, "1 while the daemon is connected to its broker.", nil,
			single(func(r *Reading) float64 { return bit(r.Connected) })},
		{"hubpipe_broker_connections", gauge, "Connections to the embedded broker: open ones, and pending ones that have not logged in. Absent with another broker.", []string{"state"},
			func(r *Reading, put func(float64, ...string)) {
				if r.Broker != nil {
					put(float64(r.Broker.Connections), "open")
					put(float64(r.Broker.Pending), "pending")
				}
			}},
		{"hubpipe_broker_sessions", gauge, "Sessions that the embedded broker keeps, connected or not. Absent with another broker.", nil,
			func(r *Reading, put func(float64, ...string)) {
				if r.Broker != nil {
					put(float64(r.Broker.Sessions))
				}
			}},
		{"hubpipe_broker_refused_total", counter, "What the guard of the embedded broker and its access rules have turned away, by reason. Absent with another broker.", []string{"reason"},
			func(r *Reading, put func(float64, ...string)) {
				if r.Broker == nil {
					return
				}
				for _, reason := range broker.Reasons() {
					put(float64(r.Broker.Refused[reason]), reason)
				}
			}},
	}
}

// verdicts are what becomes of a record that is read.
func verdicts() map[stream.Verdict]string {
	return map[stream.Verdict]string{stream.Insert: "inserted", stream.Replace: "replaced", stream.Regress: "regressed",
		stream.Same: "same", stream.Older: "older"}
}

func pageRows() []row {
	// by counts what has names of its own, each of which is always there.
	by := func(names []string, of func(*Reading) map[string]uint64) func(*Reading, func(float64, ...string)) {
		return func(r *Reading, put func(float64, ...string)) {
			for _, name := range names {
				put(float64(of(r)[name]), name)
			}
		}
	}
	return []row{
		{"hubpipe_workers", gauge, "Workers that were heard of in the last day: online or offline.", []string{"state"},
			func(r *Reading, put func(float64, ...string)) {
				online := 0
				for _, w := range r.Workers {
					online += int(bit(w.Live))
				}
				put(float64(online), "online")
				put(float64(len(r.Workers)-online), "offline")
			}},
		{"hubpipe_leases", gauge, "Attempts that workers hold under a lease now.", nil,
			single(func(r *Reading) float64 { return float64(r.Leases) })},
		{"hubpipe_attempts_total", counter, "Attempts that were handed to workers.", nil,
			single(func(r *Reading) float64 { return float64(r.Counts.Attempts) })},
		{"hubpipe_attempts_lapsed_total", counter, "Attempts that were taken from their worker: its lease has ended (lease), or it got nowhere (no_progress).", []string{"reason"},
			by([]string{dispatch.LapseLease, dispatch.LapseProgress}, func(r *Reading) map[string]uint64 { return r.Counts.Lapsed })},
		{"hubpipe_pages_total", counter, "Pages that were decided: committed; repeated (answered as before), late (nobody waits for it any more), fenced (of an attempt that has ended), refused (cannot be applied) or foreign (of another store).", []string{"outcome"},
			by([]string{dispatch.PageCommitted, dispatch.PageRepeated, dispatch.PageLate, dispatch.PageFenced, dispatch.PageRefused, dispatch.PageForeign},
				func(r *Reading) map[string]uint64 { return r.Counts.Pages })},
		{"hubpipe_pages_in_flight", gauge, "Pages that have come and are not decided yet: unread, or queued for the ledger.", []string{"stage"},
			func(r *Reading, put func(float64, ...string)) {
				put(float64(r.Unread), "unread")
				put(float64(r.Queued), "queued")
			}},
		{"hubpipe_bus_dropped_total", counter, "What the daemon let go and will get or say again: pages for want of room (busy: the worker was told; queue_full: it was not), undecodable ones, messages (outbox_full).", []string{"reason"},
			func(r *Reading, put func(float64, ...string)) {
				for _, reason := range slices.Sorted(maps.Keys(r.Dropped)) {
					put(float64(r.Dropped[reason]), reason)
				}
			}},
		{"hubpipe_readings_total", counter, "Records that pages brought: inserted, replaced or regressed were written; same were duplicates of what is stored, and older ones were not as new: both dropped.", []string{"stream", "outcome"},
			func(r *Reading, put func(float64, ...string)) {
				words := verdicts()
				for reading, n := range r.Counts.Readings {
					put(float64(n), reading.Stream, words[reading.Verdict])
				}
			}},
	}
}
