package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// kinds are the faults.
func kinds() []kind {
	const s = time.Second
	return []kind{
		{name: "kill-serve", more: 2 * s, inject: kill(syscall.SIGKILL)},
		{name: "kill-work", workers: true, more: 2 * s, inject: kill(syscall.SIGKILL)},
		{name: "kill-work-2", workers: true, more: 2 * s, inject: kill(syscall.SIGKILL)},
		{name: "term-serve", inject: kill(syscall.SIGTERM)},
		{name: "term-work", workers: true, inject: kill(syscall.SIGTERM)},
		{name: "stop-serve", atLeast: 2 * s, more: 12 * s, inject: stop},
		{name: "stop-work", workers: true, atLeast: 5 * s, more: 25 * s, inject: stop},
		{name: "pg-immediate", scope: scopeCluster, more: s, inject: killPostgres(syscall.SIGQUIT)},
		{name: "pg-kill", scope: scopeCluster, more: 2 * s, inject: killPostgres(syscall.SIGKILL)},
		{name: "pg-restart", scope: scopeCluster, more: s, inject: restartPostgres},
		{name: "end-backends", scope: scopeCluster, inject: endBackends},
		{name: "cut-before", either: true, atLeast: 3 * s, more: 4 * s, inject: misbehave(cutBefore)},
		{name: "cut-during", either: true, atLeast: 3 * s, more: 4 * s, inject: misbehave(cutDuring)},
		{name: "cut-after", either: true, atLeast: 3 * s, more: 4 * s, inject: misbehave(cutAfter)},
		{name: "delay", either: true, atLeast: 2 * s, more: 6 * s, inject: misbehave(delayed)},
		{name: "black-hole", either: true, atLeast: 3 * s, more: 15 * s, inject: misbehave(blackHole)},
		{name: "half-open", either: true, atLeast: 3 * s, more: 15 * s, inject: misbehave(halfOpen)},
		{name: "stop-reading", workers: true, atLeast: 40 * s, quiet: 41 * s, inject: stopReadingAnswer},
		{name: "lock-table", scope: scopeCluster, atLeast: s, more: 5 * s, inject: lockTable},
		{name: "exhaust-pool", scope: scopeCluster, atLeast: 3 * s, more: 4 * s, inject: exhaustPool},
		{name: "exhaust", scope: scopeCluster, atLeast: 2 * s, more: 4 * s, inject: exhaustConnections},
		{name: "migrate", scope: scopeCluster, inject: migrate},
		{name: "poison-error", scope: scopePoison, quiet: 3 * s, inject: poison("error")},
		{name: "poison-exit", scope: scopePoison, atLeast: 20 * s, quiet: 10 * s, inject: poison("exit")},
		{name: "poison-hang", scope: scopePoison, atLeast: 40 * s, quiet: 41 * s, inject: poison("hang")},
		{name: "standby-away", scope: scopeCluster, needs: needsStandby, atLeast: 2 * s, more: 6 * s, inject: standbyAway},
		{name: "failover", scope: scopeCluster, needs: needsStandby, once: true, atLeast: 25 * s, quiet: 36 * s, inject: failOver},
		{name: "disk-full", scope: scopeCluster, needs: needsDisk, atLeast: 2 * s, more: 4 * s, quiet: 10 * s, inject: fillDisk},
		{name: "upgrade", scope: scopeCluster, needs: needsBefore, once: true, atLeast: 5 * s, inject: upgrade},
		{name: "downgrade", needs: needsBefore, either: true, atLeast: 6 * s, more: 14 * s, inject: downgrade},
	}
}

// An injection is a fault under way.
type injection struct {
	*harness
	fault
	ctx     context.Context
	process *process // its target
}

// wait waits for the fault's length.
func (i *injection) wait() { sleep(i.ctx, i.length) }

// A happened is a fault that is over.
type happened struct {
	kind       kind
	begin, end time.Time
}

// recoveryExpected is what the timeouts of the program allow: 10 s until Postgres ends an idle transaction, and the
// longest backoff.
const recoveryExpected = 15 * time.Second

// excused is until when the fault may make events wait: everybody recovers from the end of an outage; from whatever
// becomes of a single process, the others recover as from its beginning.
func (h happened) excused() time.Time {
	switch h.kind.scope {
	case scopeCluster:
		return h.end.Add(recoveryExpected)
	case scopePoison:
		return h.begin
	}
	return h.begin.Add(recoveryExpected)
}

// injectAll injects the plan's faults at their times, and returns when all are over.
func (h *harness) injectAll(ctx context.Context, plan []fault) []happened {
	var all sync.WaitGroup
	var mu sync.Mutex
	var list []happened
	began := time.Now()
	for _, f := range plan {
		if !sleep(ctx, f.at-time.Since(began)) {
			break
		}
		all.Go(func() {
			i := &injection{harness: h, fault: f, ctx: ctx, process: h.target(f)}
			record := happened{kind: f.kind, begin: time.Now()}
			h.say("%s", f)
			if err := f.kind.inject(i); err != nil && ctx.Err() == nil {
				h.say("%s: %v", f.kind.name, err)
				h.ledger.count("faults that could not be injected", 1)
			}
			record.end = time.Now()
			mu.Lock()
			defer mu.Unlock()
			list = append(list, record)
		})
	}
	all.Wait()
	return list
}

// target is the process that a fault concerns.
func (h *harness) target(f fault) *process {
	candidates := h.servers
	if f.kind.workers || f.kind.either && f.choice%3 > 0 {
		candidates = h.workers
	}
	return candidates[f.target%len(candidates)]
}

func kill(signal syscall.Signal) func(*injection) error {
	return func(i *injection) error {
		i.process.end(signal, i.length)
		i.wait()
		return nil
	}
}

func stop(i *injection) error {
	i.process.pause()
	defer i.process.resume()
	i.wait()
	return nil
}

func killPostgres(signal syscall.Signal) func(*injection) error {
	return func(i *injection) error {
		node := i.cluster.current()
		if err := node.kill(signal); err != nil {
			return err
		}
		i.wait()
		return node.start(context.WithoutCancel(i.ctx))
	}
}

func restartPostgres(i *injection) error {
	node := i.cluster.current()
	if err := node.stop(); err != nil {
		return err
	}
	i.wait()
	return node.start(context.WithoutCancel(i.ctx))
}

func endBackends(i *injection) error {
	return i.cluster.exec(i.ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'px360' AND random() < 0.6")
}

func misbehave(m mischief) func(*injection) error {
	return func(i *injection) error {
		t := func() *trouble {
			return &trouble{mischief: m, every: 2 + int64(i.choice%4), delay: time.Duration(20+i.choice%200) * time.Millisecond}
		}
		for _, proxy := range i.process.proxies {
			defer proxy.set(t())()
		}
		i.wait()
		return nil
	}
}

// stopReadingAnswer lets events pile up and stops a worker while it reads a long claim of them.
func stopReadingAnswer(i *injection) error {
	stopped := make(chan struct{})
	onStop := sync.OnceFunc(func() {
		i.process.pause()
		close(stopped)
	})
	resume := i.pileUp(i.process)
	defer resume()
	for _, proxy := range i.process.proxies {
		defer proxy.set(&trouble{mischief: stopReading, onStop: onStop})()
	}
	i.process.resume()
	select {
	case <-stopped:
		defer i.process.resume()
	case <-time.After(10 * time.Second):
		return errors.New("no claim was so long")
	case <-i.ctx.Done():
	}
	resume()
	i.wait()
	return nil
}

// pileUp stops the workers while a thousand events are sent. The returned function lets all but one go on, whom the
// caller resumes.
func (i *injection) pileUp(one *process) (resume func()) {
	for _, w := range i.workers {
		w.pause()
	}
	i.traffic.burst(i.ctx)
	return sync.OnceFunc(func() {
		for _, w := range i.workers {
			if w != one {
				w.resume()
			}
		}
	})
}

func lockTable(i *injection) error {
	tables := []string{"events", "journey_instances", "stage_instances", "surveys", "idempotency_keys", "audit_log"}
	modes := []string{"ACCESS EXCLUSIVE", "EXCLUSIVE", "SHARE"}
	return i.lock(tables[i.choice%6], modes[i.choice/6%3], i.wait)
}

// exhaustPool lets requests with an Idempotency-Key wait for a lock, until the servers have no connection left, and has
// journeys created meanwhile, with the few that become free.
func exhaustPool(i *injection) error {
	var all sync.WaitGroup
	defer all.Wait()
	return i.lock("idempotency_keys", "ACCESS EXCLUSIVE", func() {
		for until := time.Now().Add(i.length); time.Now().Before(until) && sleep(i.ctx, 20*time.Millisecond); {
			v := i.ledger.newVisit()
			p := &player{traffic: i.traffic, random: newRandom(uint64(v.number))}
			e := i.ledger.newEvent(v, codeTick)
			all.Go(func() { p.sendOne(i.ctx, e, 0) })
			all.Go(func() { p.create(i.ctx, v) })
		}
	})
}

// lock holds a lock on a table while f runs.
func (i *injection) lock(table, mode string, f func()) error {
	conn, err := i.cluster.connect(i.ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(i.ctx))
	return pgx.BeginFunc(i.ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(i.ctx, fmt.Sprintf("SET LOCAL lock_timeout = '3s'; LOCK TABLE %s IN %s MODE", table, mode))
		if err == nil {
			f()
		}
		return err
	})
}

// exhaustConnections takes every connection that Postgres has left, and cuts those of the processes.
func exhaustConnections(i *injection) error {
	var taken []*pgx.Conn
	defer func() {
		for _, conn := range taken {
			conn.Close(context.WithoutCancel(i.ctx))
		}
	}()
	cut := func() {
		for _, p := range i.processes() {
			for _, proxy := range p.proxies {
				proxy.cutAll()
			}
		}
	}
	for until := time.Now().Add(i.length); time.Now().Before(until) && i.ctx.Err() == nil; {
		conn, err := i.cluster.connect(i.ctx)
		if err == nil {
			taken = append(taken, conn)
			continue
		}
		if cut != nil { // once: their connections go to others, too
			cut()
			cut = nil
		}
		sleep(i.ctx, 20*time.Millisecond)
	}
	return nil
}

// migrate migrates again, and adds a column as a next release would, beside processes that do not know it.
func migrate(i *injection) error {
	if err := runCommand(i.ctx, i.binary, i.dir, i.cluster.current().url(), "", "migrate"); err != nil {
		return err
	}
	var err error
	for range 20 { // as a careful migration: it gives way rather than make everybody wait behind it
		err = i.cluster.exec(i.ctx, fmt.Sprintf(
			"SET lock_timeout = '500ms'; ALTER TABLE events ADD COLUMN chaos_%d integer NOT NULL DEFAULT 0; ALTER TABLE journey_instances ADD COLUMN chaos_%d text", i.choice, i.choice))
		if err == nil {
			return nil
		}
		sleep(i.ctx, 300*time.Millisecond)
	}
	return err
}

// poison sends a poison event, in a backlog.
func poison(mischief string) func(*injection) error {
	return func(i *injection) error {
		resume := i.pileUp(nil)
		i.traffic.poison(i.ctx, mischief)
		resume()
		i.wait()
		return nil
	}
}

func standbyAway(i *injection) error {
	if i.cluster.current() == i.cluster.nodes[1] {
		return nil // it is the primary by now
	}
	standby := i.cluster.nodes[1]
	if err := standby.kill(syscall.SIGQUIT); err != nil {
		return err
	}
	i.wait()
	return standby.start(context.WithoutCancel(i.ctx))
}

// failOver loses the standby and, when clients have repeated what timed out, also the primary, and promotes the standby:
// what was acknowledged meanwhile must be there.
func failOver(i *injection) error {
	primary, standby := i.cluster.nodes[0], i.cluster.nodes[1]
	if err := standby.kill(syscall.SIGQUIT); err != nil {
		return err
	}
	i.wait()
	if err := primary.kill(syscall.SIGKILL); err != nil {
		return err
	}
	lasting := context.WithoutCancel(i.ctx)
	if err := standby.start(lasting); err != nil {
		return err
	}
	return i.cluster.promote(lasting)
}

// fillDisk fills the file system of the primary, or that of the standby, and makes room again. Postgres refuses what needs
// more room for a table, and ends if it finds none for its WAL.
func fillDisk(i *injection) error {
	node := i.cluster.nodes[i.choice%uint64(len(i.cluster.nodes))]
	ballast, err := fill(node.dir)
	if err != nil {
		return err
	}
	i.wait()
	if err := os.Remove(ballast); err != nil {
		return err
	}
	return node.revive(context.WithoutCancel(i.ctx))
}

// upgrade migrates under traffic while processes of the version before run, and replaces them one by one.
func upgrade(i *injection) error {
	if err := runCommand(i.ctx, i.binary, i.dir, i.cluster.current().url(), "", "migrate"); err != nil {
		return err
	}
	for _, p := range i.processes() {
		p.replace(i.binary)
		sleep(i.ctx, i.length/time.Duration(len(i.processes())))
	}
	i.upgraded.Store(true)
	return nil
}

// downgrade runs the version before in one process for a while, beside the others.
func downgrade(i *injection) error {
	if !i.upgraded.Load() {
		return nil // all processes are
	}
	i.process.replace(i.before)
	i.wait()
	i.process.replace(i.binary)
	return nil
}
