package replicator

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// ServiceOptions are what a Service is made of. All but Logger are required.
type ServiceOptions struct {
	Store *storage.Store
	// Designs has the functions of the design documents of this node's databases.
	Designs *design.Cache
	// Settings are asked for whenever they are needed, so that they may change.
	Settings func() Settings
	// UserAgent is how the node calls itself to others.
	UserAgent string
	// Accounts, if not nil, makes documents ready to be written into a database of accounts.
	Accounts func(context.Context, *document.Document) error
	Logger   *slog.Logger
}

// Service replicates for a node: what documents of its replicator databases ask for, and what requests do.
type Service struct {
	engine    *engine
	scheduler *Scheduler
	documents *documents
}

// NewService returns a Service, which begins to work with Serve.
func NewService(o ServiceOptions) *Service {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	e := &engine{store: o.Store, designs: o.Designs, settings: o.Settings, log: o.Logger, agent: o.UserAgent, accounts: o.Accounts}
	s := &Service{engine: e, scheduler: NewScheduler(e, o.Settings, o.Logger)}
	s.documents = &documents{engine: e, scheduler: s.scheduler, followed: map[string]bool{}}
	return s
}

// Serve works until ctx is done, and returns when all replications have ended with their checkpoints written. The store
// must stay open until then. It can be called once.
func (s *Service) Serve(ctx context.Context) {
	var working sync.WaitGroup
	working.Go(func() { s.documents.serve(ctx) })
	s.scheduler.Serve(ctx)
	working.Wait()
	s.engine.laters.working.Wait()
}

// Start begins a replication on behalf of a user, or finds that it is going on already.
func (s *Service) Start(ctx context.Context, spec *Spec, user auth.Principal) (*Ticket, error) {
	spec, err := s.engine.Resolve(ctx, spec.By(user), design.Subject{Name: user.Name, Roles: user.Roles})
	if err != nil {
		return nil, err
	}
	return s.scheduler.Add(Job{Spec: spec, ID: s.engine.JobID(spec), User: user.Name, Roles: user.Roles})
}

// Cancel ends the replication that spec names or describes, and returns its id. It tells whether there was one. A user
// who is no server administrator finds none but their own.
func (s *Service) Cancel(ctx context.Context, spec *Spec, user auth.Principal) (id string, found bool, err error) {
	if id = spec.CancelID; id == "" {
		if spec, err = s.engine.Resolve(ctx, spec.By(user), design.Subject{Name: user.Name, Roles: user.Roles}); err != nil {
			return "", false, err
		}
		id = s.engine.JobID(spec)
	}
	if job, ok := s.scheduler.Job(id); ok && !user.Admin() && job.User != user.Name {
		return id, false, nil
	}
	return id, s.scheduler.Remove(id), nil
}

// Jobs describes all jobs, in no order.
func (s *Service) Jobs() []Status {
	jobs := s.scheduler.Jobs()
	for i := range jobs {
		s.complete(&jobs[i])
	}
	return jobs
}

// Job describes the job of that id, and tells whether there is one.
func (s *Service) Job(id string) (Status, bool) {
	st, ok := s.scheduler.Job(id)
	s.complete(&st)
	return st, ok
}

// complete puts defaults in the place of what a Spec leaves open.
func (s *Service) complete(st *Status) {
	st.CheckpointInterval = orElse(st.CheckpointInterval, s.engine.settings().filled().CheckpointInterval)
}

// Doc describes what has become of a document of a replicator database, whose body is given.
func (s *Service) Doc(database, docID string, body []byte) Status {
	told := stateOf(body)
	if !told.over() {
		if st, ok := s.scheduler.Doc(database, docID); ok {
			s.complete(&st)
			return st
		}
	}
	st := Status{Database: database, DocID: docID, State: StateInitializing}
	spec, err := ParseSpec(body)
	if err != nil {
		spec = &Spec{}
	}
	st.describe(spec)
	if !told.over() {
		return st // it has just been written
	}
	st.State = State(told.State)
	st.Updated, _ = time.Parse(time.RFC3339, told.Time)
	st.Started = st.Updated
	if st.State == StateFailed {
		st.ErrorCount, st.Error = 1, told.Reason
	} else if t := told.Stats; t != nil {
		if began, err := time.Parse(time.RFC3339, t.StartTime); err == nil {
			st.Started = began
		}
		st.Info = &Info{
			RevisionsChecked: t.RevisionsChecked, MissingRevisionsFound: t.MissingRevisionsFound, DocsRead: t.DocsRead,
			DocsWritten: t.DocsWritten, ChangesPending: t.ChangesPending, DocWriteFailures: t.DocWriteFailures,
			BulkGetDocs: t.BulkGetDocs, BulkGetAttempts: t.BulkGetAttempts, CheckpointedSourceSeq: t.CheckpointedSourceSeq,
		}
	}
	return st
}
