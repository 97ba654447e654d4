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

// template is the name of the template database. Nothing stays connected to it, because Postgres
// can only clone a database without sessions.
const template = "px360_template"

// cluster is the server of this test process, and a pool of databases.
type cluster struct {
	once     sync.Once
	onceErr  error
	parent   string // temporary directory around the server's
	server   *localpg.Postgres
	resetSQL string // statements that reset a database and return its fingerprint
	original string // fingerprint of an unchanged database

	mu    sync.Mutex // guards the fields below
	admin *pgx.Conn
	names int         // database names given so far
	links int         // socket links given so far
	free  []*database // reset, for reuse
}

// database is a clone of the template.
type database struct {
	name string
	// conn stays connected, because a new session takes several times as long to
	// reset the database as one that has done so before.
	conn       *pgx.Conn
	socketLink string // path, see link
}

// ready starts the server and creates the template, once.
func (c *cluster) ready(ctx context.Context) error {
	c.once.Do(func() {
		// Not bounded by the context of the first test, as Postgres may have to be downloaded.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
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
		return fmt.Errorf("migrate the template database: %w", err)
	}
	return c.inspectTemplate(ctx)
}

// inspectTemplate builds the statements that reset a clone, and computes the fingerprint of an
// unchanged one. Tables with rows are those that the migrations seed.
func (c *cluster) inspectTemplate(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, c.server.URL(template))
	if err != nil {
		return fmt.Errorf("inspect the template database: %w", err)
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
			return fmt.Errorf("inspect table %s: %w", table, err)
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
	c.resetSQL = resetStatements(emptied, restarts) + fingerprintQuery(seeded)
	c.original, err = reset(ctx, conn, c.resetSQL)
	return err
}

func names(ctx context.Context, conn *pgx.Conn, query string) ([]string, error) {
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("inspect the template database: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("inspect the template database: %w", err)
	}
	return list, nil
}

// acquire returns an empty database at a new URL.
func (c *cluster) acquire(ctx context.Context) (*database, error) {
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
		if d.conn, err = pgx.Connect(ctx, c.server.URL(d.name)); err != nil {
			return nil, fmt.Errorf("connect to a new database: %w", err)
		}
	}
	return d, c.link(d)
}

// link gives the database a new path to the server's socket: a symbolic link in the socket's
// directory that points to that directory. When release removes it, no connection that a test
// forgot to close can reconnect to a database that another test uses. Renaming the database would
// do too, but takes 100 ms while sessions are still ending.
func (c *cluster) link(d *database) error {
	address, err := url.Parse(c.server.URL(d.name))
	if err != nil {
		return fmt.Errorf("read the test server's URL: %w", err)
	}
	c.links++
	d.socketLink = filepath.Join(address.Query().Get("host"), strconv.Itoa(c.links))
	if err := os.Symlink(".", d.socketLink); err != nil {
		return fmt.Errorf("link the test server's socket: %w", err)
	}
	return nil
}

// url is the database's URL through its socket link.
func (c *cluster) url(d *database) (string, error) {
	address, err := url.Parse(c.server.URL(d.name))
	if err != nil {
		return "", fmt.Errorf("read the test server's URL: %w", err)
	}
	query := address.Query()
	query.Set("host", d.socketLink)
	address.RawQuery = query.Encode()
	return address.String(), nil
}

// release resets the database for the next test, or drops it if the test changed its schema or
// seeded rows.
func (c *cluster) release(ctx context.Context, d *database) error {
	if err := os.Remove(d.socketLink); err != nil {
		return fmt.Errorf("unlink a database after its test: %w", err)
	}
	// The reset fails if the test dropped a table, for example, or the whole database. It is then
	// dropped too.
	fingerprint, err := reset(ctx, d.conn, c.resetSQL)
	if err != nil || fingerprint != c.original {
		d.conn.Close(ctx)
		return c.drop(ctx, d.name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.free = append(c.free, d)
	return nil
}

// reset runs the statements in one round trip and returns the fingerprint that the last one
// computes.
func reset(ctx context.Context, conn *pgx.Conn, statements string) (string, error) {
	results, err := conn.PgConn().Exec(ctx, statements).ReadAll()
	if err != nil {
		return "", fmt.Errorf("reset the database: %w", err)
	}
	last := results[len(results)-1]
	return string(last.Rows[0][0]), nil
}

// createBlank creates a database without a schema.
func (c *cluster) createBlank(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := c.nextName()
	return name, c.create(ctx, name, "template0")
}

// nextName is called with the mutex held.
func (c *cluster) nextName() string {
	c.names++
	return "test_" + strconv.Itoa(c.names)
}

// create is called with the mutex held, or by start.
func (c *cluster) create(ctx context.Context, name, from string) error {
	if _, err := c.admin.Exec(ctx, "CREATE DATABASE "+name+" TEMPLATE "+from); err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	// CREATE DATABASE does not copy settings of the template.
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

// close stops and deletes the server if it was started.
func (c *cluster) close() error {
	if c.parent == "" {
		return nil
	}
	var errs []error
	for _, d := range c.free {
		errs = append(errs, d.conn.Close(context.Background()))
	}
	if c.admin != nil {
		errs = append(errs, c.admin.Close(context.Background()))
	}
	if c.server != nil {
		errs = append(errs, c.server.Stop())
	}
	return errors.Join(append(errs, remove(c.parent))...)
}
