//go:build !race

package pipeline

// simSeeds is how many histories the simulation goes through.
const simSeeds = 10000
