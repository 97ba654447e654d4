// Command chaos injects faults into a running PX360 and checks afterwards, from outside, that every promise was kept.
//
// It owns its Postgres, with a synchronous standby, and runs 2 `px360 serve` and 3 `px360 work` of the real binary,
// whose connections go through proxies that know Postgres' protocol. The traffic comes from the generated client, or
// from one that does no more than the README allows. The schedule of faults and the scripts of the traffic depend on the
// seed alone; how they interleave does not.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type options struct {
	binary   string
	seed     uint64
	duration time.Duration
	rate     int
	backlog  time.Duration
	standby  bool
	disk     string
	before   string
	only     string
	plan     bool
	selfTest string
}

func main() {
	var o options
	flag.StringVar(&o.binary, "px360", "bin/px360", "the program to test")
	flag.Uint64Var(&o.seed, "seed", 0, "seed of the schedule and of the traffic; 0: a random one")
	flag.DurationVar(&o.duration, "duration", 2*time.Minute, "how long there are traffic and faults; the checks come on top")
	flag.IntVar(&o.rate, "rate", 200, "events per second")
	flag.DurationVar(&o.backlog, "backlog", 15*time.Second, "how often a source system sends a backlog of some thousand events, beside the rate; 0: never")
	flag.BoolVar(&o.standby, "standby", true, "run a synchronous standby, and name both hosts in PX360_DATABASE_URL")
	flag.StringVar(&o.disk, "disk", "", "size of the file system of each Postgres, such as 1200m, to be filled; needs root. Blank: the usual one")
	flag.StringVar(&o.before, "before", "", "the program of the version before: the run begins with it, is upgraded under traffic, and has both side by side")
	flag.StringVar(&o.only, "only", "", "inject only these faults, between commas; none: no faults")
	flag.BoolVar(&o.plan, "plan", false, "only print the schedule of faults")
	flag.StringVar(&o.selfTest, "self-test", "", "the sources: build each deliberately broken program of tests/chaos/broken and see that it is found")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := run
	if o.selfTest != "" {
		run = selfTest
	}
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		stop()
		os.Exit(1)
	}
}

var errViolated = errors.New("promises were not kept")

// run makes a run and reports.
func run(ctx context.Context, o options) error {
	if runtime.GOOS != "linux" {
		return errors.New("the harness needs Linux: it looks at /proc and ends its processes by their parent's death")
	}
	if o.seed == 0 {
		o.seed = rand.Uint64N(1e9) + 1
	}
	plan, err := o.faults()
	if err != nil {
		return err
	}
	fmt.Printf("seed %d, %d faults in %s: make chaos SEED=%d DURATION=%s\n", o.seed, len(plan), o.duration, o.seed, o.duration)
	if o.plan {
		for _, f := range plan {
			fmt.Println(f)
		}
		return nil
	}
	h, err := newHarness(o, os.Stdout)
	if err != nil {
		return err
	}
	err = h.run(ctx, plan)
	violations := h.found.total()
	if err == nil && violations > 0 {
		err = fmt.Errorf("%w: %d violations; seed %d", errViolated, violations, o.seed)
	}
	return errors.Join(err, h.close(err != nil))
}

// faults is the schedule.
func (o options) faults() ([]fault, error) {
	if o.only == "none" {
		return nil, nil
	}
	some, err := chosen(kinds(), o.only)
	if err != nil {
		return nil, err
	}
	some = slices.DeleteFunc(some, func(k kind) bool { return !o.has(k) })
	return newPlan(o.seed, o.duration, some), nil
}

func newRandom(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(stream, stream)) }

// A harness is a run.
type harness struct {
	options
	out     io.Writer // for people
	dir     string
	ports   *ports
	cluster *cluster
	servers []*process
	workers []*process
	traffic *traffic
	ledger  *ledger
	found   *findings
	began   time.Time // of the traffic
	ended   time.Time // when the checks began

	upgraded  atomic.Bool // from the version before, if there is one
	dayPlayed bool

	cancel     context.CancelFunc // ends the processes
	background sync.WaitGroup
}

func newHarness(o options, out io.Writer) (*harness, error) {
	dir, err := os.MkdirTemp("", "px360-chaos-")
	if err != nil {
		return nil, err
	}
	for _, path := range []*string{&o.binary, &o.before} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return nil, err
		}
	}
	h := &harness{options: o, out: out, dir: dir, ports: newPorts(), found: newFindings(), ledger: newLedger(fmt.Sprint(o.seed)), cancel: func() {}}
	return h, os.Chmod(dir, 0o755) // as root, another account runs Postgres
}

// first is the program that the run begins with.
func (h *harness) first() string { return cmp.Or(h.before, h.binary) }

func (h *harness) processes() []*process {
	return append(append([]*process{}, h.servers...), h.workers...)
}

// say prints a line with the time.
func (h *harness) say(format string, args ...any) {
	at := "       "
	if !h.began.IsZero() {
		at = fmt.Sprintf("%6.1fs", time.Since(h.began).Seconds())
	}
	fmt.Fprintf(h.out, "%s  %s\n", at, fmt.Sprintf(format, args...))
}

// run makes the run: traffic and faults for the duration, then a time to recover, then the checks.
func (h *harness) run(ctx context.Context, plan []fault) error {
	if err := h.start(ctx); err != nil {
		return err
	}
	h.began = time.Now()
	offering, stopOffering := context.WithTimeout(ctx, h.duration)
	defer stopOffering()
	hard, cancel := context.WithTimeout(ctx, h.duration+recoveryLimit)
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() { h.traffic.run(hard, offering, h.seed) })
	all.Go(func() { h.playDay(hard) })
	all.Go(func() { h.showProgress(offering) })
	faults := h.injectAll(offering, plan)
	<-offering.Done()
	h.say("the faults are over; waiting for what is pending")
	all.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	h.settle(ctx)
	h.ended = time.Now()
	truth, err := h.readTruth(ctx)
	if err != nil {
		return fmt.Errorf("read what is stored: %w", err)
	}
	h.checkAll(truth, faults)
	if err := h.checkDay(ctx); err != nil {
		return fmt.Errorf("read the hospital day: %w", err)
	}
	h.checkProgress(ctx, truth)
	h.checkLeaks(ctx)
	h.checkLogs()
	h.report(h.out, faults, h.recoveries(truth, faults))
	return nil
}

// start starts Postgres and the processes, and sets up the world.
func (h *harness) start(ctx context.Context) error {
	h.say("starting Postgres, 2 serve and 3 work; logs in %s", h.dir)
	var err error
	if h.cluster, err = startCluster(ctx, h.dir, h.standby, h.disk); err != nil {
		return err
	}
	database := h.cluster.current().url()
	if err := runCommand(ctx, h.first(), h.dir, database, "", "migrate"); err != nil {
		return err
	}
	if err := runCommand(ctx, h.first(), h.dir, database, adminPassword+"\n", "user", "create-admin", adminName); err != nil {
		return err
	}
	if err := h.cluster.exec(ctx, poisonTrigger); err != nil {
		return err
	}
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx)) // until close
	h.cancel = cancel
	if h.servers, err = h.launch(lasting, "serve", 2); err != nil {
		return err
	}
	if h.workers, err = h.launch(lasting, "work", 3); err != nil {
		return err
	}
	h.background.Go(func() { h.executioner(lasting) })
	for _, p := range h.processes() {
		if err := p.waitReady(ctx, 30*time.Second); err != nil {
			return err
		}
	}
	world, err := createWorld(ctx, h.servers[0].url(), h.ledger.run)
	if err != nil {
		return fmt.Errorf("set up the hospital: %w", err)
	}
	h.traffic = &traffic{world: world, ledger: h.ledger, found: h.found, pace: pace{each: time.Second / time.Duration(h.rate)}, backlogEvery: h.backlog}
	for _, p := range h.servers {
		a, err := newAPI(p.url(), world)
		if err != nil {
			return err
		}
		h.traffic.apis = append(h.traffic.apis, a)
	}
	return nil
}

// launch starts some processes of one command.
func (h *harness) launch(ctx context.Context, command string, n int) (group []*process, err error) {
	for i := range n {
		p, err := newProcess(ctx, h, command, i+1)
		if err != nil {
			return nil, err
		}
		group = append(group, p)
		h.background.Go(func() { p.supervise(ctx) })
	}
	return group, nil
}

// showProgress prints a line every ten seconds.
func (h *harness) showProgress(ctx context.Context) {
	for sleep(ctx, 10*time.Second) {
		h.say("%d events acknowledged, %d changes, %d violations so far", h.ledger.counted("events acknowledged"),
			h.ledger.counted("changes acknowledged"), h.found.total())
	}
}

// recoveryLimit is how long after the last fault nothing may be pending any more.
const recoveryLimit = 30 * time.Second

// settle waits until nothing is pending, within the limit after the last fault and the last request.
func (h *harness) settle(ctx context.Context) {
	var pending []string
	for deadline := h.began.Add(h.duration + recoveryLimit + 5*time.Second); ; {
		pending = h.pending(ctx)
		if len(pending) == 0 || time.Now().After(deadline) || !sleep(ctx, 200*time.Millisecond) {
			break
		}
	}
	h.found.look(checkPending, h.ledger.counted("events acknowledged"))
	for _, p := range pending {
		h.found.add(checkPending, "%s", p)
	}
	h.say("%d events are pending", len(pending))
}

func (h *harness) pending(ctx context.Context) (list []string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := h.cluster.connect(ctx)
	if err != nil {
		return []string{"Postgres cannot be reached: " + err.Error()}
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := rowsOf[pendingEvent](ctx, conn, `SELECT encounter_id, event_code, received_at, tries FROM events WHERE status = 'pending' ORDER BY seq`)
	if err != nil {
		return []string{err.Error()}
	}
	for _, e := range rows {
		list = append(list, fmt.Sprintf("%s of %s, received at %s, %d tries", e.EventCode, e.EncounterID, e.ReceivedAt.Local().Format(time.TimeOnly), e.Tries))
	}
	return list
}

type pendingEvent struct {
	EncounterID, EventCode string
	ReceivedAt             time.Time
	Tries                  int32
}

// close ends everything that was started, and deletes what it wrote, but for the logs of a run that failed.
func (h *harness) close(failed bool) error {
	h.cancel()
	h.background.Wait()
	var err error
	if h.cluster != nil {
		if failed {
			for i, n := range h.cluster.nodes {
				_ = copyFile(n.logFile(), filepath.Join(h.dir, fmt.Sprintf("postgres-%d.log", i+1)), 0o644)
			}
		}
		err = h.cluster.remove()
	}
	if failed {
		fmt.Fprintf(h.out, "\nThe logs are in %s\n", h.dir)
		return err
	}
	return errors.Join(err, os.RemoveAll(h.dir))
}
