package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/integration/harness"
	"github.com/mangrove-db/mangrove/integration/metamorphic"
)

// network is nodes and the lines between each two of them, which can be broken.
type network interface {
	nodes() []*harness.Node
	// address is the base URL, without credentials, at which one node reaches another.
	address(from, to int) string
	// set breaks the line between two nodes or mends it.
	set(a, b int, whole bool)
}

// newNetwork starts nodes in network namespaces of their own if that is possible, else, or if
// MANGROVE_PARTITION_PROXIES is set, with proxies between them.
func newNetwork(t *testing.T, nodes int) network {
	t.Helper()
	if runtime.GOOS == "linux" && os.Geteuid() == 0 && os.Getenv("MANGROVE_PARTITION_PROXIES") == "" {
		err := exec.Command("ip", "netns", "add", namespace(0)).Run()
		if err == nil {
			t.Log("the nodes are in network namespaces")
			return newNamespaces(t, nodes)
		}
		t.Logf("no network namespaces here: %v", err)
	}
	t.Log("there are proxies between the nodes")
	return newProxies(t, nodes)
}

// namespaces is a network of Linux network namespaces. A virtual cable joins each two of them, and one more joins each
// with the tests. A node's address is one of its own, so that it is the same whichever cable leads there.
//
// A cable is broken by taking down its end at the lower node. That one then has no way to the other and is told so at
// once; the other one sends into nothing.
type namespaces struct {
	t        *testing.T
	children []*harness.Node
}

func namespace(node int) string { return fmt.Sprintf("mangrove%d-%d", os.Getpid(), node) }

// subnet is the start of all addresses. It depends on the process, so that two can run beside each other.
func subnet() string { return fmt.Sprintf("10.%d", 64+os.Getpid()%128) }

func hostAddress(node int) string { return fmt.Sprintf("%s.%d.1", subnet(), node) }

// cable names the end at node of the cable to another.
func cable(node, other int) string { return fmt.Sprintf("line%d%d", node, other) }

// outerCable names the end, outside, of the cable between a node and the tests.
func outerCable(node int) string { return fmt.Sprintf("mg%d-%d", os.Getpid()%1_000_000, node) }

// newNamespaces expects that the first namespace is there.
func newNamespaces(t *testing.T, nodes int) *namespaces {
	t.Helper()
	n := &namespaces{t: t}
	for i := range nodes {
		if i > 0 {
			n.ip("netns add " + namespace(i))
		}
		t.Cleanup(func() { n.ip("netns del " + namespace(i)) }) // and with it all its cables
		n.within(i, "link set lo up")
		n.within(i, "address add "+hostAddress(i)+"/32 dev lo")
		n.ip(fmt.Sprintf("link add %s type veth peer name outside netns %s", outerCable(i), namespace(i)))
		n.ip(fmt.Sprintf("address add %s.%d.2/30 dev %s", subnet(), 100+i, outerCable(i)))
		n.ip("link set " + outerCable(i) + " up")
		n.within(i, fmt.Sprintf("address add %s.%d.1/30 dev outside", subnet(), 100+i))
		n.within(i, "link set outside up")
		n.ip(fmt.Sprintf("route add %s/32 via %s.%d.1", hostAddress(i), subnet(), 100+i))
	}
	for b := range nodes {
		for a := range b {
			n.within(a, fmt.Sprintf("link add %s type veth peer name %s netns %s", cable(a, b), cable(b, a), namespace(b)))
			n.within(b, "link set "+cable(b, a)+" up")
			n.within(b, fmt.Sprintf("route add %s/32 dev %s src %s", hostAddress(a), cable(b, a), hostAddress(b)))
			n.set(a, b, true)
		}
	}
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	for i := range nodes {
		script := filepath.Join(t.TempDir(), "mangrove")
		text := fmt.Sprintf("#!/bin/sh\nexec ip netns exec %s '%s' \"$@\"\n", namespace(i), binary)
		if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		n.children = append(n.children, harness.Start(t, harness.WithBinary(script), harness.WithListen(hostAddress(i)+":5984")))
	}
	return n
}

// ip runs the command of that name.
func (n *namespaces) ip(args string) {
	n.t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		n.t.Errorf("ip %s: %v: %s", args, err, out)
	}
}

func (n *namespaces) within(node int, args string) {
	n.t.Helper()
	n.ip("-n " + namespace(node) + " " + args)
}

func (n *namespaces) nodes() []*harness.Node { return n.children }

func (n *namespaces) address(_, to int) string { return "http://" + hostAddress(to) + ":5984" }

func (n *namespaces) set(a, b int, whole bool) {
	n.t.Helper()
	a, b = min(a, b), max(a, b)
	if !whole {
		n.within(a, "link set "+cable(a, b)+" down")
		return
	}
	n.within(a, "link set "+cable(a, b)+" up")
	// Taking the cable down took the route away, too.
	n.within(a, fmt.Sprintf("route replace %s/32 dev %s src %s", hostAddress(b), cable(a, b), hostAddress(a)))
}

// proxies is a network of proxies, one for each direction between two nodes.
type proxies struct {
	t        *testing.T
	children []*harness.Node
	lines    map[[2]int]*metamorphic.Proxy
}

func newProxies(t *testing.T, nodes int) *proxies {
	t.Helper()
	n := &proxies{t: t, lines: map[[2]int]*metamorphic.Proxy{}}
	for range nodes {
		n.children = append(n.children, harness.Start(t))
	}
	for from := range nodes {
		for to := range nodes {
			p, err := metamorphic.NewProxy(n.children[to].URL)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := p.Close(); err != nil {
					t.Error(err)
				}
			})
			n.lines[[2]int{from, to}] = p
		}
	}
	return n
}

func (n *proxies) nodes() []*harness.Node { return n.children }

func (n *proxies) address(from, to int) string { return "http://" + n.lines[[2]int{from, to}].Addr() }

func (n *proxies) set(a, b int, whole bool) {
	for _, p := range []*metamorphic.Proxy{n.lines[[2]int{a, b}], n.lines[[2]int{b, a}]} {
		if whole {
			p.Mend()
		} else {
			p.Sever()
		}
	}
}
