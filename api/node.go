package api

// nodeName is how a node that is alone calls itself in CouchDB.
const nodeName = "nonode@nohost"

// thisNode checks that the path names this node.
func (q *request) thisNode() error {
	_, vars := find(q.api.router, q.Request)
	node, err := unescape(vars["node"])
	if err != nil {
		return err
	}
	if node != "_local" && node != nodeName {
		return notFound("no such node: " + node)
	}
	return nil
}
