package server

import (
	"fmt"
	"net/http"

	"github.com/klauspost/compress/gzhttp"
	"github.com/klauspost/compress/gzip"
)

// minCompressed is the size in bytes from which compressing saves a packet: an Ethernet frame carries about 1,400.
const minCompressed = 1400

// newCompress makes the layer that compresses Dagster's answers on the way, by zstd or gzip at fast levels. It stands outside
// of the layers that read answers. What is compressed already, is tiny, or is a part of something passes as it is; what
// Dagster streams is flushed as it comes. The pages with forms are not below it: those show what a client typed (BREACH).
func newCompress() (func(http.Handler) http.Handler, error) {
	wrap, err := gzhttp.NewWrapper(
		gzhttp.MinSize(minCompressed), gzhttp.CompressionLevel(gzip.BestSpeed), gzhttp.SetContentType(false),
		gzhttp.DropETag(), // an ETag is of one form only
	)
	if err != nil {
		return nil, fmt.Errorf("setting compression up: %w", err)
	}
	return func(next http.Handler) http.Handler {
		compressed := wrap(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if isUpgrade(r) {
				next.ServeHTTP(w, r)
				return
			}
			compressed.ServeHTTP(w, r)
		})
	}, nil
}
