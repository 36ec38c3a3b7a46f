//go:build race

package pipeline

// simSeeds is how many histories the simulation goes through under the race detector, which takes long.
const simSeeds = 200
