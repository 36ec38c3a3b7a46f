//go:build !race

package schemas

const raceFactor = 1
