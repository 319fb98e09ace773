package harness

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"unicode/utf8"
)

// compareBody compares an answer's body with the one expected.
func compareBody(want Expectation, p *placeholders, got *rawAnswer) []Difference {
	switch {
	case want.JSON.Set:
		if !utf8.Valid(got.body) {
			return []Difference{{"$", "UTF-8", fmt.Sprintf("%q", got.body)}}
		}
		v, err := decodeJSON(got.body)
		if err != nil {
			return []Difference{{"$", show(p.expandValue(want.JSON.V)), fmt.Sprintf("%q (%v)", got.body, err)}}
		}
		return compareValues("$", p.expandValue(want.JSON.V), v)
	case want.Lines.Set:
		return compareValues("lines", p.expandValue(want.Lines.V), lines(got.body))
	case want.Events.Set:
		return compareValues("events", p.expandValue(want.Events.V), events(got.body))
	case want.Multipart.Set:
		return compareValues("multipart", p.expandValue(want.Multipart.V), multipartValue(got.header.Get("Content-Type"), got.body))
	case want.Text != nil:
		return compareBytes([]byte(p.expand(*want.Text)), got.body)
	case want.Base64 != nil:
		b, _ := base64.StdEncoding.DecodeString(*want.Base64) // checked on loading
		return compareBytes(b, got.body)
	}
	return nil
}

func compareBytes(want, got []byte) []Difference {
	if bytes.Equal(want, got) {
		return nil
	}
	at := 0
	for at < min(len(want), len(got)) && want[at] == got[at] {
		at++
	}
	from := max(0, at-20)
	return []Difference{{
		fmt.Sprintf("body at byte %d", at),
		fmt.Sprintf("%q (%d bytes in all)", clip(want[from:]), len(want)),
		fmt.Sprintf("%q (%d bytes in all)", clip(got[from:]), len(got)),
	}}
}

func clip(b []byte) []byte { return b[:min(len(b), shortened/2)] }

// lines gives each non-empty line of a continuous feed as JSON; one that is
// not JSON, as a string that says so.
func lines(body []byte) []any {
	out := []any{}
	for line := range bytes.Lines(body) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			out = append(out, jsonOrComplaint(line))
		}
	}
	return out
}

func jsonOrComplaint(b []byte) any {
	v, err := decodeJSON(b)
	if err != nil || !utf8.Valid(b) {
		return fmt.Sprintf("not JSON: %q", b)
	}
	return v
}

// events parses a text/event-stream (HTML standard, §9.2.6) and leaves out
// comments and the events of type heartbeat.
func events(body []byte) []any {
	out := []any{}
	var data []string
	event := map[string]any{}
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(body))
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if line == "" {
			if data != nil && event["event"] != "heartbeat" {
				event["data"] = jsonOrComplaint([]byte(strings.Join(data, "\n")))
				out = append(out, event)
			}
			data, event = nil, map[string]any{}
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "data":
			data = append(data, value)
		case "id", "event":
			event[field] = value
		}
	}
	if data != nil || len(event) > 0 {
		out = append(out, "an event without its blank line at the end")
	}
	return out
}

// multipartValue gives a multipart body the shape that transcripts record it
// in: {type, parts: [{headers, json | text | base64 | multipart}]}. What
// breaks its syntax becomes an extra part, a string that says so.
func multipartValue(contentType string, body []byte) any {
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil || params["boundary"] == "" {
		return fmt.Sprintf("not multipart but %q", contentType)
	}
	parts := []any{}
	r := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for {
		p, err := r.NextRawPart()
		if err == io.EOF { // bare: a wrapped one is a body cut short
			break
		}
		var content []byte
		if err == nil {
			content, err = io.ReadAll(p)
		}
		if err != nil {
			parts = append(parts, fmt.Sprintf("broken multipart: %v", err))
			break
		}
		parts = append(parts, partValue(http.Header(p.Header), content))
	}
	return map[string]any{"type": mediaType, "parts": parts}
}

func partValue(header http.Header, content []byte) any {
	headers := map[string]any{}
	for name, values := range header {
		headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	part := map[string]any{"headers": headers}
	mediaType, _, _ := mime.ParseMediaType(header.Get("Content-Type")) // unparsable: then it is neither
	if strings.HasPrefix(mediaType, "multipart/") {
		part["multipart"] = multipartValue(header.Get("Content-Type"), content)
		return part
	}
	if mediaType == "application/json" && header.Get("Content-Disposition") == "" {
		part["json"] = jsonOrComplaint(content)
		return part
	}
	if utf8.Valid(content) {
		part["text"] = string(content)
	} else {
		part["base64"] = base64.StdEncoding.EncodeToString(content)
	}
	return part
}
