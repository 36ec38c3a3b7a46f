package configs

import (
	"embed"
	"fmt"
)

//go:embed clicks/lakeloader.yaml ratings/lakeloader.yaml visitor-spend/lakeloader.yaml retail/lakeloader.yaml
var systems embed.FS

// System returns the configuration file of a published system: clicks, ratings, visitor-spend or retail.
func System(name string) ([]byte, error) {
	b, err := systems.ReadFile(name + "/lakeloader.yaml")
	if err != nil {
		return nil, fmt.Errorf("there is no configuration of a system %q", name)
	}
	return b, nil
}
