//go:build iceberg

package daemon

import (
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/iceberg"
)

// WritesIceberg says that this binary writes tables of Iceberg.
const WritesIceberg = true

func icebergEngine(d config.Destination) destination.Engine {
	x := d.Iceberg
	o := iceberg.Options{Catalog: x.Catalog, URI: d.URL.Reveal(), CatalogName: x.CatalogName, Warehouse: x.Warehouse, Namespace: x.Namespace, Mode: x.Mode,
		Credential: x.Credential.Reveal(), Token: x.Token.Reveal(), AccessKey: x.AccessKey.Reveal(), SecretKey: x.SecretKey.Reveal(), Properties: map[string]string{},
		Delete: d.Deletes == config.DeletesDelete, Raw: d.Raw, SchemaChanges: d.SchemaChanges, FileSize: int64(x.FileSize), Compact: x.CompactInterval, Keep: x.Keep}
	for name, v := range x.Properties {
		o.Properties[name] = v.Reveal()
	}
	return iceberg.New(o)
}
