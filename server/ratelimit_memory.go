package server

import (
	"sync"
	"time"
)

// A memory keeps values for as long as each is said to be good. It answers from this process alone, what
// the database need not be asked again.
type memory[V any] struct {
	mu      sync.Mutex
	entries map[string]entry[V]
	swept   time.Time
}

type entry[V any] struct {
	value V
	until time.Time
}

// memorySize bounds how much a flood of callers, each new, can make a memory hold. What does not fit is
// not remembered, which costs time and changes no answer.
const memorySize = 1 << 16

func newMemory[V any]() *memory[V] { return &memory[V]{entries: map[string]entry[V]{}} }

// get returns what was put under key, if it is still good.
func (m *memory[V]) get(key string, now time.Time) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, found := m.entries[key]
	if found && !now.Before(e.until) {
		delete(m.entries, key)
		found = false
	}
	if !found {
		var none V
		return none, false
	}
	return e.value, true
}

// put keeps value under key until then.
func (m *memory[V]) put(key string, value V, until, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep(now)
	if _, known := m.entries[key]; known || len(m.entries) < memorySize {
		m.entries[key] = entry[V]{value, until}
	}
}

// putNew is put unless something good is there already, and tells whether there was not.
func (m *memory[V]) putNew(key string, value V, until, now time.Time) bool {
	if _, known := m.get(key, now); known {
		return false
	}
	m.put(key, value, until, now)
	return true
}

// sweep drops what is no longer good: now and then, and when there is no room, but never so often that a
// flood is spent on sweeping.
func (m *memory[V]) sweep(now time.Time) {
	rest := time.Minute
	if len(m.entries) >= memorySize {
		rest = time.Second
	}
	if now.Sub(m.swept) < rest {
		return
	}
	m.swept = now
	for key, e := range m.entries {
		if !now.Before(e.until) {
			delete(m.entries, key)
		}
	}
}
