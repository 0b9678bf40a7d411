package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

func (c *command) simulator() *cobra.Command {
	var listen string
	var further map[string]int
	var pairs map[string]string
	var scenario string
	o := simulator.Options{Sizes: map[string]int{}}
	var hook simulator.Webhooks
	sizes := map[string]*int{"contacts": new(int), "companies": new(int), "deals": new(int), "tickets": new(int)}
	cmd := &cobra.Command{Use: "simulator", Short: "Run a simulated HubSpot",
		RunE: func(cmd *cobra.Command, _ []string) error {
			for name, n := range sizes {
				o.Sizes[name] = *n
			}
			if err := errors.Join(addObjects(o.Sizes, further), addPairs(&o, pairs), addScenario(&o, scenario)); err != nil {
				return &exitError{ExitUsage, err}
			}
			if hook.URL != "" {
				o.Webhooks = &hook
			}
			if err := checkSimulator(listen, o); err != nil {
				return err
			}
			s, err := serveSimulator(cmd.Context(), listen, o)
			if err != nil {
				return err
			}
			// The address is the first line, and the only one on stdout.
			fmt.Fprintln(c.env.Stdout, s.url)
			if !cmd.Flags().Changed("token") {
				fmt.Fprintf(c.env.Stderr, "its token is %s\n", o.Token)
			}
			fmt.Fprintf(c.env.Stderr, "its switches are below %s/_simulator/\n", s.url)
			<-cmd.Context().Done()
			return s.stop()
		}}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:8378", "address; port 0 is a free one")
	f.StringVar(&o.Token, "token", "simulated-token", "the token that it accepts")
	f.Int64Var(&o.Seed, "seed", 1, "the same seed gives the same account")
	f.IntVar(sizes["contacts"], "contacts", 5000, "how many there are")
	f.IntVar(sizes["companies"], "companies", 1000, "how many there are")
	f.IntVar(sizes["deals"], "deals", 1000, "how many there are")
	f.IntVar(sizes["tickets"], "tickets", 500, "how many there are")
	f.StringToIntVar(&further, "objects", nil, "further objects and how many of each, such as products=200,p_cars=50; p_ makes a custom object")
	f.StringToStringVar(&pairs, "associations", nil, "how many a record of the first object has with the second, on average, such as contacts-companies=1.2,deals-contacts=2")
	f.IntVar(&o.Properties, "properties", 40, "properties of each object")
	rate := rateFlag{&o.ChangeRate}
	f.Var(rate, "change-rate", "changes a second, such as 2 or 2/s")
	f.Float64Var(&o.LifeRate, "life-rate", 0, "share of the changes that archive, restore, purge or merge, 0 to 1")
	f.DurationVar(&o.Latency, "latency", 0, "of each request")
	f.DurationVar(&o.SearchLateness, "search-lateness", 0, "how late search sees a change, at most")
	f.Float64Var(&o.FaultRate, "fault-rate", 0, "share of requests that fail, 0 to 1")
	f.Float64Var(&o.StaleReads, "stale-reads", 0, "share of records that batch read takes from a stale replica, 0 to 1")
	f.DurationVar(&o.StaleFor, "stale-for", 10*time.Second, "for how long after a change a replica may be stale")
	f.Float64Var(&o.ShortPages, "short-pages", 0, "share of replies that are short but not the last, 0 to 1")
	f.Float64Var(&o.SearchNever, "search-never", 0, "share of records that search never shows, 0 to 1")
	f.Var(oauthFlag{&o.OAuth}, "oauth", "an app as client_id:client_secret:refresh_token; its token endpoint gives tokens of 30 minutes")
	f.Var(journalFlag{&o.Journal}, "journal", "an app as client_id:client_secret, whose journal tells of every change")
	f.StringVar(&hook.URL, "webhook", "", "address that is told of every change, such as http://127.0.0.1:8377/v1/webhooks/hubspot/main")
	f.StringVar(&hook.ClientSecret, "webhook-secret", "simulated-secret", "what it is signed with")
	f.StringVar(&scenario, "scenario", "", scenarioUsage())
	f.DurationVar(&o.ScenarioEvery, "scenario-every", 15*time.Second, "between the steps of the scenario; 0 leaves them to POST /_simulator/scenario")
	f.BoolVar(&o.Limits, "limits", true, "HubSpot's limits")
	f.BoolVar(&o.PreRendered, "prerendered", false, "render pages once and put ids in; for benchmarks alone")
	return cmd
}

// addObjects puts the sizes of further objects beside those that have a flag of
// their own.
func addObjects(sizes, further map[string]int) error {
	for name, n := range further {
		if !strings.HasPrefix(name, "p_") && !slices.Contains(simulator.Objects(), name) {
			return fmt.Errorf("--objects: there is no object %q; there are %s, and custom ones such as p_cars", name, strings.Join(simulator.Objects(), ", "))
		}
		if n < 0 {
			return fmt.Errorf("--objects: %s has a size below 0", name)
		}
		sizes[name] = n
	}
	return nil
}

// addPairs reads which objects are associated, and how much.
func addPairs(o *simulator.Options, pairs map[string]string) error {
	o.Associations = map[string]float64{}
	for pair, text := range pairs {
		from, to, ok := strings.Cut(pair, "-")
		average, err := strconv.ParseFloat(text, 64)
		if !ok || err != nil || average < 0 || average > 1000 {
			return fmt.Errorf("--associations: %q is not written like contacts-companies=1.2", pair+"="+text)
		}
		for _, name := range []string{from, to} {
			if !strings.HasPrefix(name, "p_") && !slices.Contains(simulator.Objects(), name) {
				return fmt.Errorf("--associations: there is no object %q", name)
			}
		}
		o.Associations[pair] = average
	}
	return nil
}

func addScenario(o *simulator.Options, name string) error {
	if name == "" {
		o.ScenarioEvery = 0
		return nil
	}
	sc, err := simulator.FindScenario(name)
	if err != nil {
		return fmt.Errorf("--scenario: %w", err)
	}
	sc.Apply(o)
	return nil
}

// scenarioUsage lists the scenarios, a line each.
func scenarioUsage() string {
	var text strings.Builder
	text.WriteString("what happens by and by:")
	for _, sc := range simulator.Scenarios() {
		fmt.Fprintf(&text, "\n  %-12s %s", sc.Name, sc.About)
	}
	return text.String()
}

// rateFlag reads "2" and "2/s".
type rateFlag struct{ v *float64 }

func (r rateFlag) String() string {
	if r.v == nil {
		return "0"
	}
	return fmt.Sprint(*r.v)
}
func (r rateFlag) Type() string { return "rate" }
func (r rateFlag) Set(s string) error {
	var unit string
	n, err := fmt.Sscanf(s, "%g%s", r.v, &unit)
	if n == 0 || n == 2 && unit != "/s" || *r.v < 0 {
		return errors.Join(errors.New("a rate is a number of changes a second, such as 2/s"), err)
	}
	return nil
}

// oauthFlag reads the three secrets of an app.
type oauthFlag struct{ v **simulator.OAuth }

func (o oauthFlag) String() string { return "" }
func (o oauthFlag) Type() string   { return "app" }
func (o oauthFlag) Set(s string) error {
	p := strings.Split(s, ":")
	if len(p) != 3 || p[0] == "" || p[1] == "" || p[2] == "" {
		return errors.New("an app is written client_id:client_secret:refresh_token")
	}
	*o.v = &simulator.OAuth{ClientID: p[0], ClientSecret: p[1], RefreshToken: p[2]}
	return nil
}

// journalFlag reads the two secrets of an app.
type journalFlag struct{ v **simulator.Journal }

func (j journalFlag) String() string { return "" }
func (j journalFlag) Type() string   { return "app" }
func (j journalFlag) Set(s string) error {
	id, secret, _ := strings.Cut(s, ":")
	if id == "" || secret == "" || strings.Contains(secret, ":") {
		return errors.New("an app is written client_id:client_secret")
	}
	*j.v = &simulator.Journal{ClientID: id, ClientSecret: secret}
	return nil
}

// simulated is a simulator that serves.
type simulated struct {
	url    string
	sim    *simulator.Simulator
	server *http.Server
	done   chan struct{}
}

func serveSimulator(ctx context.Context, listen string, o simulator.Options) (*simulated, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("the simulator cannot listen on %s: the port is in use; stop the program that has it, or choose another one (--listen 127.0.0.1:0 takes a free one)", listen)
	}
	if err != nil {
		return nil, fmt.Errorf("the simulator cannot listen on %s: %w", listen, err)
	}
	s := &simulated{url: "http://" + l.Addr().String(), sim: simulator.New(o), done: make(chan struct{})}
	s.server = &http.Server{Handler: s.sim, ReadHeaderTimeout: 5 * time.Second}
	if err := s.sim.Start(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	go func() {
		defer close(s.done)
		_ = s.server.Serve(l) // it ends with stop
	}()
	return s, nil
}

func (s *simulated) stop() error {
	err := s.server.Close()
	<-s.done
	s.sim.Stop()
	return err
}
