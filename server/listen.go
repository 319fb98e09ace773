package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"

	"github.com/mangrove-db/mangrove/config"
)

// endpoint is an address that the node listens on, and what answers there.
type endpoint struct {
	net.Listener
	handler http.Handler
	tls     *tls.Config // nil: plain
	apart   bool        // not for the node's clients: these do not count
}

// listen opens all addresses that the settings name: the plain one, which comes
// first, and if they ask for it those of the metrics, the encrypted one, and
// that of an authority's challenges.
func listen(ctx context.Context, s *config.Settings, h, metrics http.Handler, logger *slog.Logger) (_ []endpoint, err error) {
	secure, err := newEncryption(s, logger)
	if err != nil {
		return nil, err
	}
	var opened []endpoint
	defer func() {
		if err != nil {
			closeAll(opened)
		}
	}()
	open := func(address string, h http.Handler, c *tls.Config) error {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("cannot listen: %w", err)
		}
		opened = append(opened, endpoint{Listener: l, handler: h, tls: c})
		return nil
	}
	openApart := func(address string, h http.Handler) error {
		if err := open(address, h, nil); err != nil {
			return err
		}
		opened[len(opened)-1].apart = true
		return nil
	}
	plain := h
	if secure != nil && secure.challenges != nil {
		plain = secure.challenges(h)
	}
	if err := open(s.Address(), plain, nil); err != nil {
		return nil, err
	}
	if p := s.Prometheus; p.Enabled {
		if err := openApart(net.JoinHostPort(p.BindAddress, strconv.Itoa(p.Port)), metrics); err != nil {
			return nil, err
		}
	}
	if secure == nil {
		return opened, nil
	}
	if err := open(net.JoinHostPort(s.TLS.BindAddress, strconv.Itoa(s.TLS.Port)), h, secure.config); err != nil {
		return nil, err
	}
	if s.ACME.HTTPPort != 0 && secure.challenges != nil {
		address := net.JoinHostPort(s.TLS.BindAddress, strconv.Itoa(s.ACME.HTTPPort))
		if err := openApart(address, secure.challenges(toEncrypted(s.TLS.Port))); err != nil {
			return nil, err
		}
	}
	return opened, nil
}

func closeAll(endpoints []endpoint) {
	for _, e := range endpoints {
		e.Close()
	}
}

// newServer returns what answers the requests of an endpoint.
func (e *endpoint) newServer(maxURI int, logger *slog.Logger) *http.Server {
	s := &http.Server{
		Handler:           e.handler,
		TLSConfig:         e.tls,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytes + maxURI,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	if e.apart {
		s.WriteTimeout = requestTimeout // no gate sees to that, and the answers are short
	}
	return s
}

// serve answers requests at the endpoints, whose connections pass the gate, until ctx is done and working is
// closed, then lets those under way finish. It closes the endpoints. If one
// fails all end.
func serve(ctx context.Context, endpoints []endpoint, h handler, g *gate, working <-chan struct{}, maxURI int, logger *slog.Logger) error {
	servers := make([]*http.Server, len(endpoints))
	failed := make(chan error, len(endpoints))
	for i := range endpoints {
		e := &endpoints[i]
		servers[i] = e.newServer(maxURI, logger)
		go func() {
			var l net.Listener = e
			if !e.apart && g != nil {
				l = g.guard(e, e.tls != nil)
			}
			if e.tls != nil {
				failed <- servers[i].ServeTLS(l, "", "")
			} else {
				failed <- servers[i].Serve(l)
			}
		}()
	}
	select {
	case err := <-failed:
		closeAll(endpoints)
		for _, s := range servers {
			s.Close()
		}
		for range len(servers) - 1 {
			<-failed
		}
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	logger.Info("stopping")
	<-working
	h.Close()
	// The context that asked for the stop is over; the deadline is a new one.
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	ended := make(chan error, len(servers))
	for _, s := range servers {
		go func() { ended <- s.Shutdown(deadline) }()
	}
	var late error
	for range servers {
		late = errors.Join(late, <-ended)
	}
	if late != nil {
		logger.Warn("requests were cut off", "after", stopTimeout)
		for _, s := range servers {
			s.Close()
		}
	}
	for range servers {
		<-failed
	}
	logger.Info("stopped")
	return nil
}
