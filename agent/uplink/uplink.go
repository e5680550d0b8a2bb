// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/holdfast-project/holdfast/agent/spool"
	"github.com/holdfast-project/holdfast/agent/tail"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// Config makes an Uplink. All fields but those that say so are needed.
type Config struct {
	// Address is HOST:PORT of the collector's gRPC listener.
	Address string
	// Node is the name of this node.
	Node string
	// DataDir is the agent's directory; the uplink keeps the directory identity in it.
	DataDir string
	// JoinTokenFile holds a join token. It is read when the node must enrol: at the first start, and when the certificate
	// cannot be used any more. It may be empty for a node that is enrolled.
	JoinTokenFile string
	// ServiceAccountTokenFile holds a projected ServiceAccount token of Kubernetes, to enrol with instead, and CollectorCAFile
	// the certificates of the collector's authority, PEM. Both are read when the node must enrol, and may appear later: then the
	// uplink waits for them.
	ServiceAccountTokenFile, CollectorCAFile string
	// Alerts and Records are the two lanes. The caller opens, runs and closes them; nobody else may take from them.
	Alerts, Records *spool.Spool
	// Hello describes the agent, for each stream. The uplink sets node and positions.
	Hello func() *apiv1.Hello
	// Health describes how the agent is, every 10 seconds.
	Health func() *apiv1.Health
	// OnRecordPolicy takes what is to be recorded: when Run begins, as the collector said last, if it ever did; at the
	// beginning of each stream; and when it changes. What the collector sends next waits until it returns.
	OnRecordPolicy func(*apiv1.RecordPolicy)
	// OnModes takes the modes that people have set, as OnRecordPolicy takes what is to be recorded. It may be nil.
	OnModes func(*apiv1.ModeSettings)
	// Profiles is where what the node observes comes from and where effective profiles go. It may be nil: then the agent
	// takes no part in profiles.
	Profiles Profiles
	// Tails is where those who watch are told of and their events are taken from.
	Tails *tail.Hub
	// OnTails is called after tails have come or gone, with what Tails.Classes gives. It may be nil.
	OnTails func(classes uint64)
	// Logger takes changes of state. It may be nil.
	Logger *slog.Logger
}

// timing is every duration that the uplink waits for.
type timing struct {
	// first and last bound the pause between two attempts; slow is the pause after the collector has said no.
	first, last, slow time.Duration
	// call bounds a connection attempt and a call, welcome the time until the collector answers hello.
	call, welcome time.Duration
	// health is how often the agent says how it is.
	health time.Duration
	// drain is how long a stream that is made anew waits for acknowledgements.
	drain time.Duration
	// spool is the pause after the spool could not be read.
	spool time.Duration
	// observe is how long changes of what is observed are gathered.
	observe time.Duration
}

func defaultTiming() timing {
	return timing{
		first: 500 * time.Millisecond, last: 30 * time.Second, slow: time.Minute,
		call: 20 * time.Second, welcome: 30 * time.Second, health: 10 * time.Second, drain: 10 * time.Second, spool: time.Second,
		observe: 500 * time.Millisecond,
	}
}

// Uplink is the line to one collector. Use New.
type Uplink struct {
	cfg    Config
	log    *slog.Logger
	timing timing
	dir    string
	counts counts

	// mu guards what Stats shows of Run's state.
	mu       sync.Mutex
	identity *identity
	state    state

	// What follows belongs to Run.

	// stale is why the identity cannot be used although its time is not over; nil if it can.
	stale error
	// tried is the token that was refused last, or the join token that was used last.
	tried string

	// policy and modes are those that are kept on disk. They belong to Run, then to the stream that receives.
	policy *apiv1.RecordPolicy
	modes  *apiv1.ModeSettings
	// effective keeps effective profiles.
	effective *keeper
	// recalled says that what is kept was handed over.
	recalled sync.Once
	// unsaved says that the identity could not be written down yet. It belongs to Run, then to the stream that renews.
	unsaved bool
}

// New makes an uplink. It reads the node's identity and, if there is none, checks the join token; it connects nowhere and
// writes nothing. An error tells a setting that cannot work; ErrToken says that the node is not enrolled and has no token
// that could be one.
func New(cfg Config) (*Uplink, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	u := &Uplink{cfg: cfg, log: cfg.Logger, timing: defaultTiming(), dir: filepath.Join(cfg.DataDir, "identity")}
	if u.log == nil {
		u.log = slog.New(slog.DiscardHandler)
	}
	u.effective = newKeeper(filepath.Join(cfg.DataDir, "profiles"), u.log)
	id, err := loadIdentity(u.dir)
	switch {
	case err == nil && id.node != cfg.Node:
		err = fmt.Errorf("the identity in %s is of node %q, but this node is to be %q", u.dir, id.node, cfg.Node)
	case err == nil:
		u.identity = id
		return u, nil
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("this node is not enrolled")
	}
	if cfg.ServiceAccountTokenFile != "" {
		u.log.Info("the node enrols with its ServiceAccount token", "reason", err, "file", cfg.ServiceAccountTokenFile)
		return u, nil
	}
	if cfg.JoinTokenFile == "" {
		return nil, fmt.Errorf("%w: %s: %w", err, howToEnrol, ErrToken)
	}
	if _, tokenErr := readToken(cfg.JoinTokenFile); tokenErr != nil {
		return nil, fmt.Errorf("%w: %w", err, tokenErr)
	}
	u.log.Info("the node enrols with its join token", "reason", err, "file", cfg.JoinTokenFile)
	return u, nil
}

// howToEnrol is what a person has to do.
const howToEnrol = "make a join token with holdfast-collector token create, and give the file that holds it with --join-token-file"

func (c *Config) check() error {
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return fmt.Errorf("address of the collector %q: %w", c.Address, err)
	}
	if err := checkNode(c.Node); err != nil {
		return err
	}
	switch {
	case c.JoinTokenFile != "" && c.ServiceAccountTokenFile != "":
		return errors.New("a join token and a ServiceAccount token to enrol with: give one of them")
	case (c.ServiceAccountTokenFile == "") != (c.CollectorCAFile == ""):
		return errors.New("a ServiceAccount token and the certificate of the collector's authority belong together: give both or none")
	}
	for name, missing := range map[string]bool{
		"DataDir": c.DataDir == "", "Alerts": c.Alerts == nil, "Records": c.Records == nil, "Hello": c.Hello == nil,
		"Health": c.Health == nil, "OnRecordPolicy": c.OnRecordPolicy == nil, "Tails": c.Tails == nil,
	} {
		if missing {
			return fmt.Errorf("configuration of the uplink: %s is not set", name)
		}
	}
	return nil
}

// Run keeps the node enrolled and connected until ctx ends, and then returns nil. It returns an error only if the node was
// never enrolled, has a join token, and the collector will not have it: ErrToken, ErrAuthority, ErrDenied or ErrRequest, with
// the reason. With a ServiceAccount token it asks again and again, for token, authority and collector can all change.
func (u *Uplink) Run(ctx context.Context) error {
	pause := backoff{first: u.timing.first, last: u.timing.last, slow: u.timing.slow}
	u.Recall()
	if u.cfg.Profiles != nil {
		var keeping sync.WaitGroup
		stop, done := context.WithCancel(ctx)
		keeping.Go(func() { u.effective.run(stop) })
		defer keeping.Wait()
		defer done()
	}
	for ctx.Err() == nil {
		began := time.Now()
		err := u.once(ctx)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, errRemake) {
			pause.reset()
			continue
		}
		if u.current() == nil && refused(err) && u.cfg.ServiceAccountTokenFile == "" {
			return fmt.Errorf("enrol node %s with %s: %w", u.cfg.Node, u.cfg.Address, err)
		}
		if time.Since(began) > u.timing.last {
			pause.reset()
		}
		wait := pause.next(refused(err) && !u.hopeful())
		u.failed(err, wait)
		rest(ctx, wait)
	}
	return nil
}

// Recall hands over what the collector said last, as it is kept on disk: record policy, modes, effective profiles. Run does
// so first; an agent that must know before it takes up containers calls it earlier. Only the first call counts.
func (u *Uplink) Recall() {
	u.recalled.Do(func() {
		u.recall()
		if u.cfg.Profiles != nil {
			u.effective.load(u.cfg.Profiles.Apply)
		}
	})
}

// once enrols if it must, and then holds a stream open until it ends.
func (u *Uplink) once(ctx context.Context) error {
	id, err := u.ready(ctx)
	if err != nil {
		return err
	}
	err = u.connect(ctx, id)
	if errors.Is(err, ErrAuthority) || errors.Is(err, ErrDenied) || errors.Is(err, ErrCertificate) {
		u.stale = err
	}
	return err
}

// hopeful reports whether there is a token that may help where the identity does not.
func (u *Uplink) hopeful() bool {
	if u.stale == nil || !u.cfg.enrols() {
		return false
	}
	c, err := u.cfg.credential()
	return err == nil && c.text != u.tried
}

// current is the identity in use, nil before the first enrolment.
func (u *Uplink) current() *identity {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.identity
}
