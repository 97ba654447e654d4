package limits

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// CacheSize bounds how much a flood of callers, each new, can make a cache hold, in entries. What is evicted costs a
// question to the database and changes no answer.
const CacheSize = 1 << 16

// A Cache is an LRU whose entries expire, each at its own time. The LRU of golang-lru's package expirable has one time
// to live for all entries, and starts a goroutine that never ends. Its own lock makes PutNew atomic.
type Cache[V any] struct {
	mu      sync.Mutex
	entries *simplelru.LRU[string, entry[V]]
}

type entry[V any] struct {
	value V
	until time.Time
}

func (e entry[V]) expired(now time.Time) bool { return !now.Before(e.until) }

// NewCache is a cache of at most so many entries, at least 1.
func NewCache[V any](size int) *Cache[V] {
	entries, err := simplelru.NewLRU[string, entry[V]](size, nil)
	if err != nil { // the size is a constant
		panic(err)
	}
	return &Cache[V]{entries: entries}
}

// Get returns what was put under key, unless it has expired.
func (c *Cache[V]) Get(key string, now time.Time) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.find(key, now)
}

// Put keeps value under key until then.
func (c *Cache[V]) Put(key string, value V, until, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(key, value, until, now)
}

// PutNew is Put unless key has a value already, and tells whether it had none.
func (c *Cache[V]) PutNew(key string, value V, until, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, found := c.find(key, now); found {
		return false
	}
	c.add(key, value, until, now)
	return true
}

// Remove drops key.
func (c *Cache[V]) Remove(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries.Remove(key)
}

// find is Get. The lock is held.
func (c *Cache[V]) find(key string, now time.Time) (value V, found bool) {
	e, found := c.entries.Get(key)
	if found && e.expired(now) {
		c.entries.Remove(key)
		return value, false
	}
	return e.value, found
}

// add is Put. The least recently used entries go if they have expired, so that a cache becomes small again after a
// flood. The lock is held.
func (c *Cache[V]) add(key string, value V, until, now time.Time) {
	for {
		oldest, e, found := c.entries.GetOldest()
		if !found || !e.expired(now) {
			break
		}
		c.entries.Remove(oldest)
	}
	c.entries.Add(key, entry[V]{value, until})
}
