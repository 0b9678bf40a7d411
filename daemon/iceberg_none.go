//go:build !iceberg

package daemon

import (
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/daemon/destination"
)

// WritesIceberg says that this binary writes tables of Iceberg.
const WritesIceberg = false

// icebergEngine has none: the destination is blocked.
func icebergEngine(config.Destination) destination.Engine { return nil }
