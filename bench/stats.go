package main

import (
	"math"
	"slices"
)

// median is the middle value, or the mean of the two in the middle; NaN of nothing.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// ratio is a to b, and NaN where there is nothing to compare with.
func ratio(a, b float64) float64 {
	if b == 0 || math.IsNaN(a) || math.IsNaN(b) {
		return math.NaN()
	}
	return a / b
}

// medianOf is the median of one property of the samples.
func medianOf[T any](samples []T, property func(T) float64) float64 {
	values := make([]float64, len(samples))
	for i, sample := range samples {
		values[i] = property(sample)
	}
	return median(values)
}
