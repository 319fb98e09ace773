package metamorphic

import (
	"fmt"
	"math/rand/v2"
)

// topologies make the edges between n databases so that all reach each other.
var topologies = []func(rng *rand.Rand, n int) []Edge{line, ring, star, graph}

// line joins each database to the next.
func line(_ *rand.Rand, n int) (edges []Edge) {
	for i := 1; i < n; i++ {
		edges = append(edges, Edge{i - 1, i})
	}
	return edges
}

// ring is a line whose ends meet.
func ring(rng *rand.Rand, n int) []Edge {
	edges := line(rng, n)
	if n > 2 {
		edges = append(edges, Edge{n - 1, 0})
	}
	return edges
}

// star joins all to the first.
func star(_ *rand.Rand, n int) (edges []Edge) {
	for i := 1; i < n; i++ {
		edges = append(edges, Edge{0, i})
	}
	return edges
}

// graph is a random tree with random edges added.
func graph(rng *rand.Rand, n int) (edges []Edge) {
	for i := 1; i < n; i++ {
		parent := rng.IntN(i)
		edges = append(edges, Edge{parent, i})
		for other := range i {
			if other != parent && rng.IntN(3) == 0 {
				edges = append(edges, Edge{other, i})
			}
		}
	}
	return edges
}

// components gives, for each of n databases, the number of the group of those that reach each other.
func components(n int, edges []Edge) []int {
	group := make([]int, n)
	for i := range group {
		group[i] = i
	}
	for range n {
		for _, e := range edges {
			low := min(group[e.A], group[e.B])
			group[e.A], group[e.B] = low, low
		}
	}
	return group
}

// split returns the edges that a partition of the databases into two random sides cuts.
func split(rng *rand.Rand, n int, edges []Edge) (cut []Edge) {
	side := make([]bool, n)
	for i := range side {
		side[i] = rng.IntN(2) == 0
	}
	for _, e := range edges {
		if side[e.A] != side[e.B] {
			cut = append(cut, e)
		}
	}
	return cut
}

// String names the edge by its databases.
func (e Edge) String() string { return fmt.Sprintf("%s-%s", letter(e.A), letter(e.B)) }
