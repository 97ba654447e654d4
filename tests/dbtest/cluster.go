package dbtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/px360/px360/schema"
	"github.com/px360/px360/schema/localpg"
)

// template is the database that the others are cloned from. Nothing connects to
// it once it is complete, as Postgres clones only what nobody uses.
const template = "px360_template"

// cluster is the server of this process and its databases.
type cluster struct {
	once     sync.Once
	onceErr  error
	parent   string // temporary directory around the server's
	server   *localpg.Postgres
	emptying string // statements that leave only what the migrations seed
	original string // fingerprint of a database that no test has touched

	mu    sync.Mutex // guards what follows
	admin *pgx.Conn
	names int         // how many were given so far
	doors int         // likewise
	free  []*database // empty again
}

// database is a clone of the template.
type database struct {
	name string
	// keeper stays connected, because a new session takes several times as long to
	// empty the database as one that has done it before.
	keeper *pgx.Conn
	door   string // see open
}

// ready starts the server and makes the template, at the first call.
func (c *cluster) ready(ctx context.Context) error {
	c.once.Do(func() {
		// Not the first test's own time: there may be a Postgres to download.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startPatience)
		defer cancel()
		c.onceErr = c.start(ctx)
	})
	return c.onceErr
}

func (c *cluster) start(ctx context.Context) (err error) {
	if err := removeLeftovers(); err != nil {
		return err
	}
	if c.parent, err = newDirectory(); err != nil {
		return err
	}
	if c.server, err = localpg.Start(ctx, localpg.Options{Dir: serverDirectory(c.parent), Throwaway: true}); err != nil {
		return err
	}
	if c.admin, err = pgx.Connect(ctx, c.server.URL("postgres")); err != nil {
		return fmt.Errorf("connect to the test server: %w", err)
	}
	if err := c.create(ctx, template, "template0"); err != nil {
		return err
	}
	if err := schema.Up(ctx, c.server.URL(template)); err != nil {
		return fmt.Errorf("make the template database: %w", err)
	}
	return c.study(ctx)
}

// study learns from the template how to empty a clone of it, and how to tell that
// a clone is as good as new. Tables with rows are those that the migrations seed.
func (c *cluster) study(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, c.server.URL(template))
	if err != nil {
		return fmt.Errorf("study the template database: %w", err)
	}
	defer conn.Close(ctx)
	tables, err := names(ctx, conn, tablesQuery)
	if err != nil {
		return err
	}
	var seeded, emptied []string
	for _, table := range tables {
		var hasRows bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+table+")").Scan(&hasRows); err != nil {
			return fmt.Errorf("study table %s: %w", table, err)
		}
		if hasRows {
			seeded = append(seeded, table)
		} else {
			emptied = append(emptied, table)
		}
	}
	restarts, err := names(ctx, conn, restartsQuery)
	if err != nil {
		return err
	}
	c.emptying = emptyingStatements(emptied, restarts) + fingerprintQuery(seeded)
	c.original, err = empty(ctx, conn, c.emptying)
	return err
}

func names(ctx context.Context, conn *pgx.Conn, query string) ([]string, error) {
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("study the template database: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("study the template database: %w", err)
	}
	return list, nil
}

// take hands out an empty database at an address that was never used before.
func (c *cluster) take(ctx context.Context) (*database, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var d *database
	if last := len(c.free) - 1; last >= 0 {
		d, c.free = c.free[last], c.free[:last]
	} else {
		d = &database{name: c.nextName()}
		if err := c.create(ctx, d.name, template); err != nil {
			return nil, err
		}
		var err error
		if d.keeper, err = pgx.Connect(ctx, c.server.URL(d.name)); err != nil {
			return nil, fmt.Errorf("connect to a new database: %w", err)
		}
	}
	return d, c.open(d)
}

// open gives the database a door: a path of its own to the server's socket, by a
// symbolic link from the socket's directory to itself. With the door removed,
// whatever a test forgot to end cannot come back into a database that another
// test uses by now. Renaming the database would do as well, but takes 100 ms
// whenever Postgres has not quite seen off the last session.
func (c *cluster) open(d *database) error {
	address, err := url.Parse(c.server.URL(d.name))
	if err != nil {
		return fmt.Errorf("read the test server's URL: %w", err)
	}
	c.doors++
	d.door = filepath.Join(address.Query().Get("host"), strconv.Itoa(c.doors))
	if err := os.Symlink(".", d.door); err != nil {
		return fmt.Errorf("make a way to the test server's socket: %w", err)
	}
	return nil
}

// url is the database's address for as long as its door is open.
func (c *cluster) url(d *database) (string, error) {
	address, err := url.Parse(c.server.URL(d.name))
	if err != nil {
		return "", fmt.Errorf("read the test server's URL: %w", err)
	}
	query := address.Query()
	query.Set("host", d.door)
	address.RawQuery = query.Encode()
	return address.String(), nil
}

// giveBack empties the database for the next test. One whose schema or seeded
// rows the test changed is dropped instead.
func (c *cluster) giveBack(ctx context.Context, d *database) error {
	if err := os.Remove(d.door); err != nil {
		return fmt.Errorf("close a database after its test: %w", err)
	}
	// An error means that the test took away a table, say, or the whole database,
	// so that this one is not as good as new either.
	fingerprint, err := empty(ctx, d.keeper, c.emptying)
	if err != nil || fingerprint != c.original {
		d.keeper.Close(ctx)
		return c.drop(ctx, d.name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.free = append(c.free, d)
	return nil
}

// empty runs the statements in one round trip and returns what the last one says.
func empty(ctx context.Context, conn *pgx.Conn, statements string) (string, error) {
	results, err := conn.PgConn().Exec(ctx, statements).ReadAll()
	if err != nil {
		return "", fmt.Errorf("empty the database: %w", err)
	}
	last := results[len(results)-1]
	return string(last.Rows[0][0]), nil
}

// createBlank makes a database without a schema.
func (c *cluster) createBlank(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := c.nextName()
	return name, c.create(ctx, name, "template0")
}

// nextName needs the mutex.
func (c *cluster) nextName() string {
	c.names++
	return "test_" + strconv.Itoa(c.names)
}

// create needs the mutex, or to be the only one.
func (c *cluster) create(ctx context.Context, name, from string) error {
	if _, err := c.admin.Exec(ctx, "CREATE DATABASE "+name+" TEMPLATE "+from); err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	// A clone does not inherit the settings of its template.
	if _, err := c.admin.Exec(ctx, "ALTER DATABASE "+name+" SET timezone = '"+databaseZone+"'"); err != nil {
		return fmt.Errorf("set the time zone of database %s: %w", name, err)
	}
	return nil
}

func (c *cluster) drop(ctx context.Context, name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.admin.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("drop database %s: %w", name, err)
	}
	return nil
}

// close stops the server, if any test needed one, and deletes it.
func (c *cluster) close() error {
	if c.parent == "" {
		return nil
	}
	var errs []error
	for _, d := range c.free {
		errs = append(errs, d.keeper.Close(context.Background()))
	}
	if c.admin != nil {
		errs = append(errs, c.admin.Close(context.Background()))
	}
	if c.server != nil {
		errs = append(errs, c.server.Stop())
	}
	return errors.Join(append(errs, remove(c.parent))...)
}
