package limits

import "testing"

func TestInFlight(t *testing.T) {
	t.Parallel()
	f := NewInFlight(8)
	var leave func()
	for i := range 6 {
		var ok bool
		if leave, ok = f.Enter(false); !ok {
			t.Fatalf("request %d was turned away", i+1)
		}
	}
	enters := func(event bool) bool { _, ok := f.Enter(event); return ok }
	if enters(false) {
		t.Error("a request took a place that is reserved for events")
	}
	for range 2 {
		if !enters(true) {
			t.Fatal("the places that are reserved for events were not there")
		}
	}
	refused, ok := f.Enter(true)
	if ok {
		t.Error("an event was let in beyond the last place")
	}
	refused() // who has no place gives none back
	if enters(true) {
		t.Error("an event was let in beyond the last place")
	}
	leave()
	if !enters(true) || enters(false) {
		t.Error("the place that became free is for whoever comes first, and it was the event")
	}
}

// A request that finds no place gives back what it had taken, when events took the places of others.
func TestInFlightFullOfEvents(t *testing.T) {
	t.Parallel()
	f := NewInFlight(4)
	var leave []func()
	for range 4 {
		l, ok := f.Enter(true)
		if !ok {
			t.Fatal("an event was turned away before all places were taken")
		}
		leave = append(leave, l)
	}
	for range 8 {
		if _, ok := f.Enter(false); ok {
			t.Fatal("a request was let in beyond the last place")
		}
	}
	for _, l := range leave {
		l()
	}
	for i := range 3 {
		if _, ok := f.Enter(false); !ok {
			t.Errorf("request %d was turned away from an idle server", i+1)
		}
	}
}

// The smallest server has a place for everybody.
func TestInFlightOne(t *testing.T) {
	t.Parallel()
	f := NewInFlight(1)
	for _, event := range []bool{false, true} {
		leave, ok := f.Enter(event)
		if !ok {
			t.Fatalf("event %v: turned away from an idle server", event)
		}
		leaveAs, ok := f.EnterAs("a")
		if !ok {
			t.Fatalf("event %v: its caller was turned away", event)
		}
		leaveAs()
		leave()
	}
}

// One caller cannot take all the places, with bodies that never end for example.
func TestInFlightByCaller(t *testing.T) {
	t.Parallel()
	f := NewInFlight(8)
	var held []func()
	for range 4 {
		leave, ok := f.EnterAs("a")
		if !ok {
			t.Fatal("a caller was turned away before half of the places were theirs")
		}
		held = append(held, leave)
	}
	refused, ok := f.EnterAs("a")
	if ok {
		t.Error("a caller got more than half of the places")
	}
	other, ok := f.EnterAs("b")
	if !ok {
		t.Error("another caller was turned away")
	}
	refused() // who has no place gives none back
	if _, ok := f.EnterAs("a"); ok {
		t.Error("a caller got more than half of the places")
	}
	for _, leave := range append(held, other) {
		leave()
	}
	if len(f.callers) != 0 {
		t.Errorf("%v are still counted", f.callers)
	}
}
