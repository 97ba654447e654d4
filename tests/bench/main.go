// Command bench measures PX360 on this machine, each figure beside the rate of plain SQL on the same
// Postgres, in the same run and with the same number of connections. The program under test is the real
// binary in its own processes; Postgres and the load share the machine with it. Only the ratios are
// comparable: absolute figures vary from hour to hour.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/px360/px360/schema/localpg"
)

type options struct {
	binary      string
	connections int
	seconds     float64
	rounds      int
	journeys    int
	scored      int
	river       bool
	only        string
	world       string
	scale       float64
	snapshot    time.Duration
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == plainCommand {
		fmt.Fprintln(os.Stderr, "bench:", servePlain(os.Args[2], os.Args[3]))
		os.Exit(1)
	}
	var o options
	flag.StringVar(&o.binary, "px360", "bin/px360", "the program to measure")
	flag.IntVar(&o.connections, "connections", 8, "connections of the load, and of the bare figures")
	flag.Float64Var(&o.seconds, "seconds", 3, "length of one measurement")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds; each figure is the median of all")
	flag.IntVar(&o.journeys, "journeys", 2000, "journeys; the drain has four events for each")
	flag.IntVar(&o.scored, "surveys", 1_000_000, "answered surveys that scores are added up over")
	flag.BoolVar(&o.river, "river", true, "also measure the River queue's no-op jobs")
	flag.StringVar(&o.only, "only", "", "measure only what has this in its name")
	flag.StringVar(&o.world, "world", defaultWorld(), "directory in which the large world is kept between runs")
	flag.Float64Var(&o.scale, "scale", 1, "size of the large world: 1 is a million patients and ten million events, made in some minutes")
	flag.DurationVar(&o.snapshot, "snapshot", 20*time.Second, "how long a snapshot is held open")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A bench has what a run needs.
type bench struct {
	options
	ctx      context.Context
	pg       *localpg.Postgres
	database string        // the program's
	bare     *pgxpool.Pool // for the plain SQL, on a database of its own
	product  *pgxpool.Pool // on the program's database, for setup and checks
	api      *api
	figures  []*figure
	layered  []*layered
	surveys  []*surveyFigure
	besides  []*beside

	bareJourneys []string // ids in the bare database

	large     *bench          // on the large world; nil if nothing asks for it
	callers   map[string]*api // of the large world
	lastEvent int64           // of the large world
	expired   float64         // events a second

	single, many deployment
}

// A figure is a line of the table: rates per second, one per round.
type figure struct {
	name, bareName string
	product, bare  []float64
}

const sweepName = "lists of the large world"

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "px360-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var large bench
	if strings.Contains(sweepName, o.only) || strings.HasPrefix("growth:", o.only) || strings.HasPrefix(o.only, "growth:") {
		large = bench{options: o, ctx: ctx}
		stop, err := large.openLarge(dir)
		if stop != nil {
			defer stop()
		}
		if err != nil {
			return err
		}
	}
	var sweep []listing
	if strings.Contains(sweepName, o.only) {
		if sweep, err = large.large.sweepLists(); err != nil {
			return err
		}
		if o.only == sweepName {
			progress("")
			printSweep(os.Stdout, sweep)
			return nil
		}
	}
	pg, err := localpg.Start(ctx, localpg.Options{Dir: filepath.Join(dir, "postgres"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() {
		_ = pg.Stop()
		_ = localpg.Remove(filepath.Join(dir, "postgres"))
	}()
	b := &bench{options: o, ctx: ctx, pg: pg, database: "px360", large: large.large, surveys: slices.Concat(surveyFigures(), actionFigures(), growthFigures(), processFigures())}
	mail, err := startMailSink()
	if err != nil {
		return err
	}
	product, err := b.launch(dir, "up", append(mail, "PX360_RATE_LIMITS=off")...)
	if err != nil {
		return err
	}
	defer product.stop()
	if b.product, err = pgxpool.New(ctx, pg.URL("px360")); err != nil {
		return err
	}
	defer b.product.Close()
	if err := b.prepareBare(); err != nil {
		return err
	}
	defer b.bare.Close()
	if b.api, err = prepare(b.product, product.url, b.journeys); err != nil {
		return err
	}
	free, err := b.launch(dir, "serve", "PX360_RATE_LIMITS=off")
	if err != nil {
		return err
	}
	defer free.stop()
	limited, err := b.launch(dir, "serve", unreachableLimits...)
	if err != nil {
		return err
	}
	defer limited.stop()
	if err := b.prepareLayers(free, limited); err != nil {
		return err
	}
	plain, err := b.launchPlain()
	if err != nil {
		return err
	}
	defer plain.stop()
	if err := b.prepareBeside(); err != nil {
		return err
	}
	budgets := b.budgets(free, product)
	for round := 1; round <= o.rounds; round++ {
		for _, m := range b.measurements() {
			if !strings.Contains(m.name, o.only) {
				continue
			}
			progress("round %d of %d: %s", round, o.rounds, m.name)
			if err := b.measure(m); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
		}
		for _, g := range budgets {
			if !strings.Contains(g.name, o.only) {
				continue
			}
			progress("round %d of %d: %s", round, o.rounds, g.name)
			if err := b.measureBudget(g); err != nil {
				return fmt.Errorf("%s: %w", g.name, err)
			}
		}
		for _, m := range b.besides {
			if !strings.Contains(m.name, o.only) {
				continue
			}
			progress("round %d of %d: %s", round, o.rounds, m.name)
			if err := b.measureBeside(m, free, plain); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
		}
		for _, l := range b.layered {
			if !strings.Contains(l.name, o.only) {
				continue
			}
			progress("round %d of %d: %s", round, o.rounds, l.name)
			if err := b.measureLayers(l); err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
		}
		for _, f := range b.surveys {
			if !strings.Contains(f.name, o.only) {
				continue
			}
			progress("round %d of %d: %s", round, o.rounds, f.name)
			value, err := f.measure(b)
			if err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			f.values = append(f.values, value)
		}
	}
	progress("")
	b.print(os.Stdout)
	b.printBeside(os.Stdout)
	b.printBudgets(os.Stdout, budgets)
	b.printLayers(os.Stdout)
	b.printSurveys(os.Stdout)
	printSweep(os.Stdout, sweep)
	return nil
}

// progress prints the current step; on a terminal it overwrites the line.
func progress(format string, args ...any) {
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(os.Stderr, "\r\x1b[K"+format, args...)
		return
	}
	if format != "" {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}
}

// A process is a process of the program under test.
type process struct {
	url, metrics string
	pid          int
	stop         func()
}

// launch starts a process on the bench's Postgres and waits until it is ready.
func (b *bench) launch(dir, command string, settings ...string) (*process, error) {
	database, err := b.pg.EnsureDatabase(b.ctx, b.database)
	if err != nil {
		return nil, err
	}
	var addresses [2]string
	for i := range addresses {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		addresses[i] = listener.Addr().String()
		listener.Close()
	}
	logs, err := os.CreateTemp(dir, command+"-*.log")
	if err != nil {
		return nil, err
	}
	run := exec.CommandContext(b.ctx, b.binary, command)
	run.Env = append(os.Environ(), "PX360_DATABASE_URL="+database, "PX360_ADDR="+addresses[0], "PX360_METRICS_ADDR="+addresses[1],
		"PX360_DATA_DIR="+filepath.Join(dir, "data"), "PX360_SECRET_KEY="+secretKey, "PX360_ADMIN_PASSWORD="+password, "PX360_LOG_LEVEL=warn")
	run.Env = append(run.Env, settings...)
	run.Stdout, run.Stderr = logs, logs
	run.Cancel = func() error { return run.Process.Signal(syscall.SIGTERM) }
	if err := run.Start(); err != nil {
		return nil, fmt.Errorf("%w (build it with `make build`)", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- run.Wait() }()
	p := &process{url: "http://" + addresses[0], metrics: "http://" + addresses[1] + "/metrics", pid: run.Process.Pid, stop: func() {
		_ = run.Process.Signal(syscall.SIGTERM)
		<-exited
	}}
	for deadline := time.Now().Add(30 * time.Second); ; {
		if ready(p.url) {
			return p, nil
		}
		select {
		case err := <-exited:
			text, _ := os.ReadFile(logs.Name())
			return nil, fmt.Errorf("px360 %s ended: %w\n%s", command, err, text)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.stop()
			return nil, fmt.Errorf("px360 %s was not ready within 30 s", command)
		}
	}
}

// measure runs one round of a figure: plain SQL first, then the program.
func (b *bench) measure(m measurement) error {
	f := b.figure(m.name, m.bareName)
	bare, err := m.bare(b)
	if err != nil {
		return fmt.Errorf("bare: %w", err)
	}
	f.bare = append(f.bare, bare)
	if m.product == nil {
		return nil
	}
	product, err := m.product(b)
	f.product = append(f.product, product)
	return err
}

func (b *bench) figure(name, bareName string) *figure {
	for _, f := range b.figures {
		if f.name == name {
			return f
		}
	}
	f := &figure{name: name, bareName: bareName}
	b.figures = append(b.figures, f)
	return f
}

func (b *bench) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\tPX360 /s\tbare Postgres /s\tratio\t  beside\n")
	for _, f := range b.figures {
		if len(f.product) == 0 {
			fmt.Fprintf(w, "%s\t\t%.0f\t\t  %s\n", f.name, median(f.bare), f.bareName)
			continue
		}
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f %%\t  %s\n", f.name, median(f.product), median(f.bare), 100*median(f.product)/median(f.bare), f.bareName)
	}
	w.Flush()
	fmt.Fprintf(out, "\nmedians of %d rounds of %.0f s, %d connections\n", b.rounds, b.seconds, b.connections)
}

func median(values []float64) float64 {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}
