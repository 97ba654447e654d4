package limits

import (
	"fmt"
	"testing"
	"time"
)

func TestCacheExpires(t *testing.T) {
	t.Parallel()
	c, now := NewCache[int](8), time.Now()
	c.Put("a", 1, now.Add(time.Minute), now)
	if c.PutNew("a", 2, now.Add(time.Hour), now) {
		t.Error("PutNew replaced a live entry")
	}
	if got, found := c.Get("a", now.Add(59*time.Second)); !found || got != 1 {
		t.Errorf("%d, %v, want 1", got, found)
	}
	if got, found := c.Get("a", now.Add(time.Minute)); found {
		t.Errorf("%d is kept too long", got)
	}
	if !c.PutNew("a", 3, now.Add(time.Hour), now) {
		t.Error("PutNew kept an expired entry")
	}
}

// A full cache evicts the least recently used entry, and expired entries are removed.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	c, now := NewCache[int](CacheSize), time.Now()
	for i := range CacheSize + 10 {
		c.Put(fmt.Sprint(i), i, now.Add(time.Minute), now)
	}
	if c.entries.Len() != CacheSize {
		t.Errorf("%d entries, want %d", c.entries.Len(), CacheSize)
	}
	c.Put("0", -1, now.Add(time.Minute), now)
	if got, _ := c.Get("0", now); got != -1 {
		t.Errorf("got %d, want the -1 that was put into the full cache", got)
	}
	if _, found := c.Get("10", now); found || c.entries.Len() != CacheSize {
		t.Errorf("the least recently used of %d entries was not evicted", c.entries.Len())
	}
	later := now.Add(2 * time.Minute)
	c.Put("new", 1, later.Add(time.Minute), later)
	if c.entries.Len() != 1 {
		t.Errorf("%d entries after all but one expired, want 1", c.entries.Len())
	}
}
