package routes

import (
	"context"
	"errors"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

func newSearch(*configs.OutletSearch, func() time.Time) (sender, error) {
	return nil, errors.New("later")
}
func newAvroEncoding(context.Context, *configs.OutletTopic, any, *batch.Type, []int) (encoding, error) {
	return nil, errors.New("later")
}
func newProtobufEncoding(context.Context, *configs.OutletTopic, any, *batch.Type, []int) (encoding, error) {
	return nil, errors.New("later")
}
