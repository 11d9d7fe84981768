package main

import (
	"math"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values []float64
		want   float64
	}{
		{"one", []float64{3}, 3},
		{"odd, out of order", []float64{9, 1, 4}, 4},
		{"even", []float64{4, 1, 3, 2}, 2.5},
		{"an outlier", []float64{10, 11, 1000}, 11},
		{"nothing", nil, math.NaN()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := median(tt.values)
			if got != tt.want && !(math.IsNaN(got) && math.IsNaN(tt.want)) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestMedianLeavesItsArgumentAlone(t *testing.T) {
	values := []float64{3, 1, 2}
	if got := median(values); got != 2 || values[0] != 3 || values[1] != 1 {
		t.Errorf("got %v and %v, want 2 and the values as they were", got, values)
	}
}

func TestRatio(t *testing.T) {
	for _, tt := range []struct{ a, b, want float64 }{
		{6, 3, 2},
		{0, 3, 0},
		{3, 0, math.NaN()},
		{math.NaN(), 3, math.NaN()},
		{3, math.NaN(), math.NaN()},
	} {
		got := ratio(tt.a, tt.b)
		if got != tt.want && !(math.IsNaN(got) && math.IsNaN(tt.want)) {
			t.Errorf("ratio(%v, %v): got %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestMediansAreOfEachPropertyAlone(t *testing.T) {
	s := series{Rounds: []sample{
		{Rate: 100, P99: 9, Requests: 10, Bad: 1},
		{Rate: 300, P99: 1, Requests: 20},
		{Rate: 200, P99: 5, Requests: 30, Bad: 2},
	}}
	s.summarise()
	if want := (sample{Rate: 200, P99: 5, Requests: 60, Bad: 3}); s.Median != want {
		t.Errorf("got %+v, want %+v", s.Median, want)
	}
}
