package cli

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/destination/postgres"
)

// demoSchema is the schema of a demo in a database of the user's. It is made
// anew each time.
const demoSchema = "hubpipe_demo"

// demoWarehouse is the block of the configuration that copies a demo into a
// PostgreSQL; the URL stands in a variable, as it should.
const demoWarehouse = `destination "postgres" "warehouse" {
  url    = env("` + demoVariable + `")
  schema = "` + demoSchema + `"
}
`

// demoVariable holds the URL.
const demoVariable = "WAREHOUSE_URL"

// demoQuery is a first question to real tables.
const demoQuery = `SELECT dealstage, count(*) AS deals, sum(amount) AS amount, max(closedate)::date AS last
FROM hubpipe_demo.deals WHERE _hubpipe_state = 'live'
GROUP BY dealstage ORDER BY amount DESC NULLS LAST LIMIT 5`

// fromVariable is what begins the name of a variable in place of an address.
const fromVariable = "env:"

// warehouseURL is the address that --postgres means. One with a password in it is
// in the list of processes, which all who work on the machine may read.
func (c *command) warehouseURL(said string) (string, error) {
	if name, ok := strings.CutPrefix(said, fromVariable); ok {
		address, _ := c.env.Getenv(name)
		if address == "" {
			return "", usageError("--postgres: the variable %s is not set; export it with the address of the database", name)
		}
		return address, nil
	}
	if hasPassword(said) {
		fmt.Fprintf(c.env.Stderr, "--postgres: the list of processes shows the password to all who work on this machine; --postgres %s%s takes the address from that variable\n",
			fromVariable, demoVariable)
	}
	return said, nil
}

// hasPassword tells whether the address of a database, in either form that libpq
// takes, has a password in it.
func hasPassword(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "" {
		return strings.Contains(address, "password")
	}
	_, set := u.User.Password()
	return set || u.Query().Has("password")
}

// clearWarehouse takes away what an earlier demo has left in the database.
func (c *command) clearWarehouse(ctx context.Context, address string) error {
	dropped, err := postgres.New(postgres.Options{URL: address, Schema: demoSchema}).Drop(ctx)
	if err != nil {
		return fmt.Errorf("--postgres: %w", err)
	}
	if dropped {
		fmt.Fprintf(c.env.Stderr, "the schema %s of an earlier demo is made anew\n", demoSchema)
	}
	return nil
}

// checkWarehouse waits until the warehouse has everything, and holds it against
// the store.
func (c *command) checkWarehouse(ctx context.Context, api *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		d, err := api.Destination(ctx, "warehouse")
		if err != nil {
			return err
		}
		if d.State == client.DestinationCurrent {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if d.Error != nil {
				return fmt.Errorf("the warehouse: %w", d.Error)
			}
			return fmt.Errorf("the warehouse is %d changes behind: %w", d.Behind, ctx.Err())
		}
	}
	x, err := api.CheckDestination(ctx, "warehouse")
	if err != nil {
		return err
	}
	rows := uint64(0)
	for _, s := range x.Streams {
		if !s.Equal {
			return fmt.Errorf("the table %s differs from the store: %s", s.Table, s.Note)
		}
		for _, n := range s.Written {
			rows += n
		}
	}
	fmt.Fprintf(c.env.Stdout, "the warehouse equals the store: %d rows in the schema %s; ask it, for example:\n%s\n", rows, demoSchema, demoQuery)
	return nil
}
