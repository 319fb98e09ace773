function (doc, before, user, security) {
  // Who may have an account, and who may change it. Kept by the server: a
  // change is undone when it starts.
  var refuse = function (reason) { throw({ forbidden: reason }); };
  var holds = function (list, value) {
    return isArray(list) && list.indexOf(value) !== -1;
  };
  var serverAdmin = holds(user.roles, '_admin');

  if (doc._deleted === true) {
    if (!serverAdmin && !(before && user.name === before.name)) {
      refuse('Only admins may delete other user docs.');
    }
    return;
  }

  if (doc.type !== 'user') { refuse('doc.type must be user'); }
  if (!doc.name) { refuse('doc.name is required'); }
  if (!doc.roles) { refuse('doc.roles must exist'); }
  if (!isArray(doc.roles)) { refuse('doc.roles must be an array'); }
  doc.roles.forEach(function (role) {
    if (typeof role !== 'string') { refuse('doc.roles can only contain strings'); }
  });
  if (typeof doc.name !== 'string' || doc._id !== 'org.couchdb.user:' + doc.name) {
    refuse('Doc ID must be of the form org.couchdb.user:name');
  }
  if (before && before.name !== doc.name) { refuse('Usernames can not be changed.'); }

  if (doc.password_sha && !doc.salt) {
    refuse('Users with password_sha must have a salt.');
  }
  var scheme = doc.password_scheme;
  if (scheme && !holds(['simple', 'pbkdf2', 'simple+pbkdf2'], scheme)) {
    refuse('Password scheme `' + scheme + '` not supported.');
  }
  if (scheme === 'pbkdf2' || scheme === 'simple+pbkdf2') {
    if (typeof doc.iterations !== 'number') { refuse('iterations must be a number.'); }
    if (typeof doc.derived_key !== 'string') { refuse('derived_key must be a string.'); }
  }

  var admins = (security && security.admins) || {};
  var admin = serverAdmin || holds(admins.names, user.name) ||
    user.roles.some(function (role) { return holds(admins.roles, role); });
  if (!admin) {
    if (before) {
      if (user.name !== doc.name) { refuse('You may only update your own user document.'); }
      var sorted = function (list) { return JSON.stringify((list || []).slice().sort()); };
      if (sorted(before.roles) !== sorted(doc.roles)) { refuse('Only _admin may edit roles'); }
    } else if (doc.roles.length > 0) {
      refuse('Only _admin may set roles');
    }
  }

  doc.roles.forEach(function (role) {
    if (role.charAt(0) === '_' && role !== '_metrics') {
      refuse('No system roles (starting with underscore) in users db.');
    }
  });
  if (doc.name.charAt(0) === '_') { refuse('Username may not start with underscore.'); }
  if (doc.name.indexOf(':') !== -1) { refuse('Character `:` is not allowed in usernames.'); }
}
