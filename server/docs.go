package server

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/labstack/echo/v4"

	"github.com/px360/px360/openapi"
	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/contract"
	"github.com/px360/px360/server/limits"
	"github.com/px360/px360/server/problem"
)

// Where the documentation is. Everything it needs is under these paths: its pages ask no other host
// for anything, and their policies see to that.
const (
	schemaPath  = "/api/schema/"
	swaggerPath = "/api/docs/"
	redocPath   = "/api/redoc/"
	assetsPath  = "/api/docs/assets/"
)

// Policies of what the pages may load. Nothing is inline but two kinds of style elements of ReDoc's,
// each allowed by the hash of its text: those that are empty when they are inserted and filled by
// script, and the one of its scroll bars. Its search runs in a worker that it keeps as text.
const (
	emptyStyle     = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
	scrollBarStyle = "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='"

	lockedPolicy  = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
	swaggerPolicy = lockedPolicy + "; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'"
	redocPolicy   = lockedPolicy + "; script-src 'self'; style-src 'self' " + emptyStyle + " " + scrollBarStyle +
		"; img-src 'self' data:; connect-src 'self'; worker-src blob:"
)

// What a cache may do. An asset's address has its content's hash, so that it never changes.
const (
	cacheRevalidate = "public, no-cache"
	cacheForever    = "public, max-age=31536000, immutable"
)

// limitedBy is whom each rate limit of the contract is counted by.
var limitedBy = map[string]string{contract.PolicyAuth: "client address", contract.PolicyUser: "user", contract.PolicyEvents: "hospital and source system"}

// routeDocs adds the schema and the pages that show it: open to everyone, for GET and HEAD only.
func (s *Server) routeDocs() {
	// Made at the first look: rendering and packing takes longer than most programs that start a server live.
	made := sync.OnceValues(func() (*docs, error) { return newDocs(s.policy, s.rates.Limit, s.writeFile) })
	route := func(path, policy string, answer func(*docs, echo.Context) error) {
		s.routeStatic(path, func(c echo.Context) error {
			header := c.Response().Header()
			header.Set("Content-Security-Policy", policy)
			header.Set("Referrer-Policy", "no-referrer")
			header.Set("X-Frame-Options", "DENY")
			d, err := made()
			if err != nil {
				return err
			}
			return answer(d, c)
		})
	}
	route(schemaPath, lockedPolicy, (*docs).serveSchema)
	route(swaggerPath, swaggerPolicy, func(d *docs, c echo.Context) error { return d.send(c, d.swagger, cacheRevalidate) })
	route(redocPath, redocPolicy, func(d *docs, c echo.Context) error { return d.send(c, d.redoc, cacheRevalidate) })
	route(assetsPath+":name/", lockedPolicy, (*docs).serveAsset)
}

// routeStatic adds a path outside of the contract: open to everyone, for GET and HEAD only.
func (s *Server) routeStatic(path string, handler echo.HandlerFunc) {
	const allow = "GET, HEAD, OPTIONS"
	s.static[path] = true
	s.echo.GET(path, handler)
	s.echo.RouteNotFound(path, func(c echo.Context) error { return methodNotAllowed(c, allow) })
}

// methodNotAllowed answers any method that a path outside of the contract does not have.
func methodNotAllowed(c echo.Context, allow string) error {
	if c.Request().Method == http.MethodOptions {
		c.Response().Header().Set("Allow", allow)
		return c.NoContent(http.StatusNoContent)
	}
	return problem.MethodNotAllowed(c.Request().Method, allow)
}

// docs is the documentation, ready to be sent.
type docs struct {
	swagger, redoc *file
	assets         map[string]*file // by name
	schema         map[string]*file // by format
	write          writer
}

// A writer writes a file under these headers.
type writer func(c echo.Context, header map[string]string, content []byte) error

func newDocs(permissions auth.Policy, limit func(policy string) limits.Limit, write writer) (*docs, error) {
	published, err := openapi.Publish(about(permissions), noter(permissions, limit))
	if err != nil {
		return nil, fmt.Errorf("publish the contract: %w", err)
	}
	d := &docs{write: write, assets: map[string]*file{}, schema: map[string]*file{
		"yaml": newFile("schema.yaml", published.YAML), "json": newFile("schema.json", published.JSON),
	}}
	entries, err := fs.ReadDir(openapi.Docs, "docs")
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		content, err := openapi.Docs.ReadFile("docs/" + entry.Name())
		switch name := entry.Name(); {
		case err != nil:
			return nil, err
		case strings.HasSuffix(name, ".gz"):
			d.assets[strings.TrimSuffix(name, ".gz")] = newPackedFile(strings.TrimSuffix(name, ".gz"), content)
		case !strings.HasSuffix(name, ".html"):
			d.assets[name] = newFile(name, content)
		}
	}
	if d.swagger, err = d.page("swagger.html"); err != nil {
		return nil, err
	}
	d.redoc, err = d.page("redoc.html")
	return d, err
}

// page makes a page, with the addresses of the assets that it loads.
func (d *docs) page(name string) (*file, error) {
	address := func(name string) (string, error) {
		f, found := d.assets[name]
		if !found {
			return "", fmt.Errorf("no asset %s", name)
		}
		return assetsPath + name + "?v=" + f.version, nil
	}
	page, err := template.New(name).Funcs(template.FuncMap{"asset": address}).ParseFS(openapi.Docs, "docs/"+name)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := page.Execute(&text, nil); err != nil {
		return nil, err
	}
	return newFile(name, text.Bytes()), nil
}

// about is what the description of the API says besides: the tables of who may do what and how often.
func about(permissions auth.Policy) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Try it in [Swagger UI](%[1]s), read it in [ReDoc](%[2]s), or take the schema as [YAML](%[3]s?format=yaml) or [JSON](%[3]s?format=json).\n",
		swaggerPath, redocPath, schemaPath)
	b.WriteString("\n## Who may do what\n\nEach operation names its permission. PX Admins see every hospital; everybody else sees and changes only what is their own hospital's.\n\n" +
		"| Permission | Who has it | What it is for |\n|---|---|---|\n")
	for _, rule := range permissions {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", rule.Permission, rule.Who(), rule.Meaning)
	}
	b.WriteString("\n## Rate limits\n\nEach operation names its limit as it is set here. " +
		"Over it, the answer is 429 and `Retry-After` says when to come back.")
	return b.String()
}

// noter tells of an operation who may call it and how often.
func noter(permissions auth.Policy, limitOf func(policy string) limits.Limit) func(permission, rateLimit string) string {
	return func(permission, rateLimit string) string {
		limit := rateLimit
		if by, limited := limitedBy[rateLimit]; limited {
			limit = fmt.Sprintf("`%s` (%s by %s)", rateLimit, limitOf(rateLimit), by)
		}
		rule, _ := permissions.Rule(permission)
		return fmt.Sprintf("Permission: `%s` — %s. Rate limit: %s.", permission, rule.Who(), limit)
	}
}

// A file is something to send, packed for the clients that take it so and plain for the others.
type file struct {
	mediaType string
	version   string // a hash of the content
	packed    []byte
	plain     func() ([]byte, error)
}

func newFile(name string, content []byte) *file {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(content) // a buffer takes everything
	_ = w.Close()
	f := newPackedFile(name, packed.Bytes())
	f.plain = func() ([]byte, error) { return content, nil }
	return f
}

// newPackedFile keeps what was packed beforehand, and unpacks it only when somebody wants that.
func newPackedFile(name string, packed []byte) *file {
	mediaType := map[string]string{".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml", ".txt": "text/plain"}[path.Ext(name)]
	hash := sha256.Sum256(packed)
	return &file{
		mediaType: mediaType + "; charset=utf-8", version: hex.EncodeToString(hash[:8]), packed: packed,
		plain: sync.OnceValues(func() ([]byte, error) {
			r, err := gzip.NewReader(bytes.NewReader(packed))
			if err != nil {
				return nil, err
			}
			return io.ReadAll(r)
		}),
	}
}

// send writes a file, or 304 to who has it.
func (d *docs) send(c echo.Context, f *file, cache string) error {
	content, tag := f.packed, f.version+"-gzip"
	header := map[string]string{"Content-Type": f.mediaType, "Cache-Control": cache}
	if quality(c.Request().Header.Get("Accept-Encoding"), "gzip", "*") > 0 {
		header["Content-Encoding"] = "gzip"
	} else {
		var err error
		if content, err = f.plain(); err != nil {
			return err
		}
		tag = f.version
	}
	c.Response().Header().Add("Vary", "Accept-Encoding")
	header["Content-Length"], header["ETag"] = strconv.Itoa(len(content)), `"`+tag+`"`
	return d.write(c, header, content)
}

// serveAsset sends what a page loads. While two versions of the program run side by side, one may be
// asked for the other's asset: it answers with its own, which nobody may keep.
func (d *docs) serveAsset(c echo.Context) error {
	f, found := d.assets[c.Param("name")]
	if !found {
		return problem.NotFound
	}
	cache := cacheRevalidate
	if c.QueryParam("v") == f.version {
		cache = cacheForever
	}
	return d.send(c, f, cache)
}

// schemaTypes are the media types of the schema and the format of each, the preferred ones first.
var schemaTypes = []struct{ mediaType, format string }{
	{"application/vnd.oai.openapi", "yaml"},
	{"application/yaml", "yaml"},
	{"text/yaml", "yaml"},
	{"application/vnd.oai.openapi+json", "json"},
	{"application/json", "json"},
}

// serveSchema sends the schema as YAML or JSON: the format that the query asks for, in the media type
// that the client likes best.
func (d *docs) serveSchema(c echo.Context) error {
	format := c.QueryParam("format")
	if format != "" && d.schema[format] == nil {
		return problem.NotFound
	}
	header := c.Response().Header()
	header.Add("Vary", "Accept")
	accept := strings.Join(c.Request().Header.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" {
		accept = "*/*"
	}
	best, at := 0.0, -1
	for i, offer := range schemaTypes {
		if format != "" && format != offer.format {
			continue
		}
		class, _, _ := strings.Cut(offer.mediaType, "/")
		if q := quality(accept, offer.mediaType, class+"/*", "*/*"); q > best {
			best, at = q, i
		}
	}
	if at < 0 {
		return problem.NotAcceptable
	}
	offer := schemaTypes[at]
	header.Set("Content-Disposition", `inline; filename="px360.`+offer.format+`"`)
	f := *d.schema[offer.format]
	if f.mediaType = offer.mediaType; offer.format == "yaml" { // JSON is UTF-8 always
		f.mediaType += "; charset=utf-8"
	}
	return d.send(c, &f, cacheRevalidate)
}
