package main

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

// serveFloor is the least that a proxy in Go can do: a bare httputil.ReverseProxy that keeps its connections upstream,
// for less than the 5 s after which uvicorn closes them.
func serveFloor(listen, upstream string) error {
	target, err := url.Parse(upstream)
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{
			MaxIdleConns: 64, MaxIdleConnsPerHost: 64, IdleConnTimeout: 4 * time.Second, DisableCompression: true,
		},
	}
	server := &http.Server{Addr: listen, Handler: proxy, ReadHeaderTimeout: time.Minute}
	return server.ListenAndServe()
}
