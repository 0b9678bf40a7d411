package cli

import (
	"math"
	"net"
	"net/netip"
	"time"

	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// Bounds of a simulated HubSpot: everything is in memory, and an account has
// no more than HubSpot lets it have.
const (
	maxSimulated  = 10_000_000
	maxProperties = 1000
	maxRate       = 100_000
)

// checkSimulator refuses what no simulated HubSpot can be.
func checkSimulator(listen string, o simulator.Options) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port == "" {
		return usageError("--listen %q is no address; write it like 127.0.0.1:8378", listen)
	}
	if addr, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !addr.Unmap().IsLoopback()) {
		return usageError("--listen %s leaves this machine, and the simulator has no TLS; listen on 127.0.0.1:%s", listen, port)
	}
	for name, n := range o.Sizes {
		if n < 0 || n > maxSimulated {
			return usageError("there can be 0 to %d of %s, not %d", maxSimulated, name, n)
		}
	}
	if o.Properties < 1 || o.Properties > maxProperties {
		return usageError("--properties is 1 to %d, not %d", maxProperties, o.Properties)
	}
	for flag, share := range map[string]float64{"fault-rate": o.FaultRate, "life-rate": o.LifeRate, "stale-reads": o.StaleReads,
		"short-pages": o.ShortPages, "search-never": o.SearchNever} {
		if math.IsNaN(share) || share < 0 || share > 1 {
			return usageError("--%s is a share from 0 to 1, not %v", flag, share)
		}
	}
	if math.IsNaN(o.ChangeRate) || o.ChangeRate < 0 || o.ChangeRate > maxRate {
		return usageError("--change-rate is 0 to %d a second, not %v", maxRate, o.ChangeRate)
	}
	for flag, d := range map[string]time.Duration{"latency": o.Latency, "search-lateness": o.SearchLateness, "stale-for": o.StaleFor} {
		if d < 0 || d > time.Hour {
			return usageError("--%s is 0 to 1h, not %s", flag, d)
		}
	}
	return nil
}
