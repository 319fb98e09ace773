package replicator

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"
)

// idleTime is how long a connection is kept that nobody uses.
const idleTime = 30 * time.Second

// newTransport returns the network as the options describe it. Nothing is taken from the environment: what a
// replication does is told by its document alone.
func newTransport(o RemoteOptions, c *client) (*http.Transport, error) {
	dialer := &net.Dialer{Timeout: o.ConnectionTimeout, KeepAlive: 15 * time.Second}
	t := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			begun := time.Now()
			conn, err := dialer.DialContext(ctx, network, address)
			if err == nil {
				c.measured(time.Since(begun))
			}
			return conn, err
		},
		TLSClientConfig:        o.TLS.Clone(),
		TLSHandshakeTimeout:    o.ConnectionTimeout,
		MaxIdleConnsPerHost:    o.Connections,
		IdleConnTimeout:        idleTime,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // bodies are unpacked here, where asked for
	}
	if o.Proxy == "" {
		return t, nil
	}
	proxy, err := url.Parse(o.Proxy)
	if err != nil || proxy.Host == "" {
		return nil, errors.New("the URL of the proxy is malformed")
	}
	switch proxy.Scheme {
	case "http", "https", "socks5":
	default:
		return nil, errors.New("the URL of the proxy must begin with http://, https:// or socks5://")
	}
	t.Proxy = http.ProxyURL(proxy)
	return t, nil
}

// measured notes how long a handshake took, which is one round trip and what finding the address took.
func (c *client) measured(d time.Duration) {
	for {
		old := c.distance.Load()
		if old != 0 && old <= int64(d) || c.distance.CompareAndSwap(old, max(1, int64(d))) {
			return
		}
	}
}
