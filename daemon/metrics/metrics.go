// Package metrics shows how a daemon stands to Prometheus. All figures are read
// when they are asked for, from what the daemon knows anyway: there is one
// table, whose rows say what each is called, what it means and where it is read.
package metrics

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/store"
)

// Reading is a daemon at one moment.
type Reading struct {
	At      time.Time
	Version string
	Ready   bool

	// Streams, Portals, Workers, Leases and Counts are the ledger's.
	Streams []Stream
	Portals []dispatch.PortalView
	Workers []dispatch.WorkerView
	Leases  int
	Counts  dispatch.Counts

	// Unread and Queued are pages that have come and are not decided yet; Dropped
	// is what the bus let go, by reason.
	Unread, Queued int
	Dropped        map[string]uint64

	// Destinations are the warehouses that follow the change feed.
	Destinations []destination.Status

	Commits, Position, Epoch uint64
	Disk                     *store.Disk // nil where it cannot be told

	// Connected says whether the daemon is at its broker; Broker is the embedded
	// one, nil where another is used.
	Connected bool
	Broker    *broker.Stats
}

// Stream is how a stream stands, with what the store counts of it.
type Stream struct {
	dispatch.View
	Records  store.Counts
	Position uint64
	// Bytes is what the records take in the store's log, once that is Measured.
	Bytes    uint64
	Measured bool
}

// patience bounds one reading: the ledger may be at a slow disk.
const patience = 10 * time.Second

// atOnce is how many may ask at the same time.
const atOnce = 4

// New returns what answers GET /metrics with what read gives each time, and with
// the figures of the process and of Go.
func New(read func(context.Context) (*Reading, error)) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(newCollector(read), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: atOnce})
}

// row is one metric. Labels have values from small sets: names of the
// configuration and words of ours, never ids.
type row struct {
	name   string
	kind   prometheus.ValueType
	help   string
	labels []string
	// read puts a value for each combination of labels that there is.
	read func(r *Reading, put func(value float64, labels ...string))
}

// rows is the whole table.
func rows() []row {
	all := daemonRows()
	all = append(all, streamRows()...)
	all = append(all, runRows()...)
	all = append(all, reconcileRows()...)
	all = append(all, portalRows()...)
	all = append(all, pageRows()...)
	return append(all, destinationRows()...)
}

// collector makes metrics of readings.
type collector struct {
	read  func(context.Context) (*Reading, error)
	rows  []row
	descs []*prometheus.Desc // of rows
}

var _ prometheus.Collector = (*collector)(nil)

func newCollector(read func(context.Context) (*Reading, error)) *collector {
	c := &collector{read: read, rows: rows()}
	for _, r := range c.rows {
		c.descs = append(c.descs, prometheus.NewDesc(r.name, r.help, r.labels, nil))
	}
	return c
}

// Describe names all metrics.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect reads the daemon once for all of them.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	reading, err := c.read(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.descs[0], err)
		return
	}
	for i, r := range c.rows {
		r.read(reading, func(value float64, labels ...string) {
			m, err := prometheus.NewConstMetric(c.descs[i], r.kind, value, labels...)
			if err != nil {
				m = prometheus.NewInvalidMetric(c.descs[i], err)
			}
			ch <- m
		})
	}
}

const (
	gauge   = prometheus.GaugeValue
	counter = prometheus.CounterValue
)

// unix is a time as Prometheus counts it.
func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func bit(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
