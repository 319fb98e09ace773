package api

import (
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/config"
	"github.com/mangrove-db/mangrove/document"
)

// maxConfigValue bounds the JSON of a value. The configured limit of documents does not count here: one that is too small
// could not be put right again.
const maxConfigValue = 1 << 20

// sealedSections cannot be changed over HTTP. To CouchDB they name programs to run.
var sealedSections = []string{
	"daemons", "external", "feature_flags", "httpd_db_handlers", "httpd_design_handlers", "httpd_global_handlers",
	"native_query_servers", "os_daemons", "query_servers",
}

// configPath returns what the path names below _config; section and key are "" where it names none.
func (q *request) configPath() (section, key string, err error) {
	if err := q.thisNode(); err != nil {
		return "", "", err
	}
	_, vars := find(q.api.router, q.Request)
	if section, err = unescape(vars["section"]); err == nil {
		key, err = unescape(vars["key"])
	}
	return section, key, err
}

// getNode tells the node's name.
func getNode(q *request) error {
	if err := q.thisNode(); err != nil {
		return err
	}
	return q.reply(http.StatusOK, map[string]string{"name": nodeName})
}

func anyNodes(*request) error { return errNodePath }

func getConfig(q *request) error {
	if err := q.thisNode(); err != nil {
		return err
	}
	all := map[string]map[string]string{}
	for _, section := range q.config.Sections() {
		all[section] = q.masked(section)
	}
	return q.reply(http.StatusOK, all)
}

func getConfigSection(q *request) error {
	section, _, err := q.configPath()
	if err != nil {
		return err
	}
	return q.reply(http.StatusOK, q.masked(section))
}

// masked returns a section without its secrets.
func (q *request) masked(section string) map[string]string {
	keys := q.config.Section(section)
	for key := range keys {
		if config.Secret(section, key) {
			keys[key] = config.Mask
		}
	}
	return keys
}

func getConfigKey(q *request) error {
	section, key, err := q.configPath()
	if err != nil {
		return err
	}
	value, ok := q.config.Get(section, key)
	if !ok {
		return errNoConfigValue
	}
	if config.Secret(section, key) {
		value = config.Mask
	}
	return q.reply(http.StatusOK, value)
}

// persistent tells whether a change goes into the file.
func (q *request) persistent() bool { return q.Header.Get("X-Couch-Persist") != "false" }

func putConfigKey(q *request) error {
	section, key, err := q.configPath()
	if err != nil {
		return err
	}
	if slices.Contains(sealedSections, section) {
		return errSealedSection
	}
	value, err := q.readConfigValue()
	if err != nil {
		return err
	}
	value, err = q.storable(section, key, value)
	if err != nil {
		return err
	}
	old, err := q.api.config.Set(section, key, value, q.persistent())
	if err != nil {
		return configError(err)
	}
	q.logConfig("configuration changed", section, key, value)
	if doubt := q.api.config.Snapshot().Doubt(section, key); doubt != nil {
		q.log().Warn("a setting makes no sense", "error", doubt)
	}
	return q.reply(http.StatusOK, old)
}

// readConfigValue reads the body, which is a string as JSON.
func (q *request) readConfigValue() (string, error) {
	text, err := io.ReadAll(io.LimitReader(q.Body, maxConfigValue+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxConfigValue {
		return "", errRequestTooLarge
	}
	text, err = document.Canonical(text)
	if err != nil {
		return "", errInvalidJSON
	}
	value, ok := jsonString(text)
	if !ok {
		return "", errNotString
	}
	return strings.TrimSpace(value), nil
}

// storable returns what is stored of a value: an administrator's password is hashed before it is in force or in the file.
func (q *request) storable(section, key, value string) (string, error) {
	switch {
	case config.Secret(section, key) && value == config.Mask:
		return "", errMaskedValue
	case section != "admins" || auth.Hashed(value):
		return value, nil
	case value == "":
		return "", errNoPassword
	}
	return auth.HashPassword(value, q.config.PasswordPRF, q.config.PasswordIterations)
}

func deleteConfigKey(q *request) error {
	section, key, err := q.configPath()
	if err != nil {
		return err
	}
	if slices.Contains(sealedSections, section) {
		return errSealedSection
	}
	old, found, err := q.api.config.Delete(section, key, q.persistent())
	switch {
	case err != nil:
		return configError(err)
	case !found:
		return errNoConfigValue
	}
	q.logConfig("configuration deleted", section, key, "")
	return q.reply(http.StatusOK, old)
}

func (q *request) logConfig(message, section, key, value string) {
	if config.Secret(section, key) || section == "admins" {
		value = config.Mask
	}
	q.log().Info(message, "section", section, "key", key, "value", value, "by", q.user.Name)
}

// postReload reads the file again. Passwords of administrators that stand there in clear are hashed, as at start.
func postReload(q *request) error {
	if err := q.thisNode(); err != nil {
		return err
	}
	if err := q.api.config.Reload(); err != nil {
		return configError(err)
	}
	for _, doubt := range q.api.config.Snapshot().Doubts {
		q.log().Warn("a setting makes no sense", "error", doubt)
	}
	prepared, err := auth.HashAdmins(q.api.config)
	if err != nil {
		return err
	}
	for name, err := range prepared.Unwritten {
		q.log().Warn("administrator's hashed password could not be written", "name", name, "error", err)
	}
	q.log().Info("configuration read again", "file", q.api.config.Path(), "by", q.user.Name)
	return q.replyOK(http.StatusOK)
}
