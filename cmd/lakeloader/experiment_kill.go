package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lakeloader/lakeloader/demo"
	"github.com/lakeloader/lakeloader/obs"
)

// member is a lakeloader in a process of its own: one consumer of each group.
type member struct {
	name    string
	cmd     *exec.Cmd
	address chan string // one, when it listens
	at      string
	done    chan struct{}
	err     error
	log     *os.File
}

// sessionTimeout is how long a broker waits for a consumer that says nothing, before it gives its partitions to others.
const sessionTimeout = "6000"

// startMember starts `lakeloader run` with the demo's configuration, as a user would.
func (x *experiment) startMember(name string) (*member, error) {
	text, err := os.ReadFile(x.path)
	if err != nil {
		return nil, err
	}
	head := "kafka:\n  properties: {session.timeout.ms: \"" + sessionTimeout + "\"}\n"
	config := filepath.Join(filepath.Dir(x.path), "consumer.yaml")
	if err := os.WriteFile(config, bytes.Replace(text, []byte("kafka:\n"), []byte(head), 1), 0o644); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	m := &member{name: name, cmd: exec.Command(self, "run", "-c", config), address: make(chan string, 1), done: make(chan struct{})}
	if m.log, err = os.Create(filepath.Join(filepath.Dir(x.path), strings.ReplaceAll(name, " ", "-")+".log")); err != nil {
		return nil, err
	}
	out, err := m.cmd.StderrPipe()
	if err == nil {
		err = m.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, m.log.Close())
	}
	go m.watch(bufio.NewScanner(out))
	return m, nil
}

// watch keeps the log, and finds in it where the member listens.
func (m *member) watch(s *bufio.Scanner) {
	for s.Scan() {
		fmt.Fprintln(m.log, s.Text())
		var line struct{ Msg, Address string }
		if json.Unmarshal(s.Bytes(), &line) == nil && line.Msg == "listening" {
			m.address <- line.Address
		}
	}
	m.err = errors.Join(m.cmd.Wait(), m.log.Close())
	close(m.done)
}

// status asks the member; nil: it does not answer yet.
func (m *member) status(ctx context.Context) ([]obs.PipelineStatus, error) {
	select {
	case m.at = <-m.address:
	case <-m.done:
		return nil, fmt.Errorf("%s has ended: %w; see %s", m.name, m.err, m.log.Name())
	default:
	}
	if m.at == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s, err := obs.Fetch(ctx, obs.Daemon{Address: m.at})
	if err != nil {
		return nil, nil //nolint:nilerr // it is asked again
	}
	return s.Pipelines, nil
}

// end tells it to stop, and kills it if it does not.
func (m *member) end() error {
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-m.done:
		return m.err
	case <-time.After(time.Minute):
		return errors.Join(fmt.Errorf("%s did not stop", m.name), m.cmd.Process.Kill())
	}
}

// partitionsOf are the partitions that a pipeline of a member has.
func partitionsOf(all []obs.PipelineStatus, name string) (ps []int32) {
	for _, p := range one(all, name).Partitions {
		ps = append(ps, p.Partition)
	}
	return ps
}

// killOne: two processes share the partitions of both groups. One of them is killed while clicks come.
func (x *experiment) killOne(ctx context.Context) (err error) {
	var members []*member
	defer func() {
		for _, m := range members {
			err = errors.Join(err, m.end())
		}
	}()
	if members, err = x.startMembers(); err != nil {
		return err
	}
	rate := x.f.rate
	if rate == 0 {
		rate = int(x.f.records / 20)
	}
	sending, enough := context.WithCancel(ctx) // clicks come until all that is to be seen was seen
	defer enough()
	live := x.produce(sending, 0, rate)
	var have [2][]obs.PipelineStatus
	look := func() (err error) {
		for i, m := range members {
			if have[i], err = m.status(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	show := func() { x.showMembers(members, have[:]) }
	if err := x.until(ctx, "both consumers to load", show, func() (bool, error) {
		if err := look(); err != nil {
			return false, err
		}
		for i := range members {
			for _, name := range []string{archiver, secondStore} {
				if len(partitionsOf(have[i], name)) == 0 || one(have[i], name).Rows == 0 {
					return false, nil
				}
			}
		}
		return true, nil
	}); err != nil {
		return err
	}
	show()
	victim, moved := members[1], map[string][]int32{}
	for _, name := range []string{archiver, secondStore} {
		moved[name] = partitionsOf(have[1], name)
	}
	members = members[:1]
	if err := victim.cmd.Process.Kill(); err != nil {
		return err
	}
	<-victim.done
	killed := time.Now()
	x.say("\n  %s (pid %d) is killed with kill -9, in the middle of what it was doing", victim.name, victim.cmd.Process.Pid)
	if err := x.until(ctx, "the partitions to move", show, func() (bool, error) {
		have[1] = nil
		err := look()
		return len(partitionsOf(have[0], archiver)) == demo.Partitions && len(partitionsOf(have[0], secondStore)) == demo.Partitions, err
	}); err != nil {
		return err
	}
	took := time.Since(killed)
	show()
	sent, err := x.rest(ctx, enough, live, show, func() ([]obs.PipelineStatus, error) {
		err := look()
		return have[0], err
	})
	if err != nil {
		return err
	}
	x.say("")
	left := members[0]
	members = nil
	if err := left.end(); err != nil {
		return err
	}
	for _, name := range []string{archiver, secondStore} {
		x.claim(len(moved[name]) > 0, "%s: partitions %s moved to %s, %.1f s after the kill (session.timeout.ms is %s)", x.group(name), partitionList(moved[name]), left.name, took.Seconds(), sessionTimeout)
	}
	_, err = x.verified(ctx, sent)
	return err
}

// showMembers shows what each process has loaded, and which partitions it has.
func (x *experiment) showMembers(members []*member, have [][]obs.PipelineStatus) {
	for i, m := range members {
		for _, name := range []string{archiver, secondStore} {
			x.say("    %s, pid %-7d %-20s loaded %8d   partitions %s", m.name, m.cmd.Process.Pid, x.group(name), one(have[i], name).Rows, partitionList(partitionsOf(have[i], name)))
		}
	}
}

// startMembers starts two processes; those that it returns run, also with an error.
func (x *experiment) startMembers() (members []*member, err error) {
	for i := range 2 {
		m, err := x.startMember(fmt.Sprintf("consumer %d", i+1))
		if err != nil {
			return members, err
		}
		members = append(members, m)
	}
	return members, nil
}

// rest has the clicks end when there are as many as were asked for, and waits until all are loaded.
func (x *experiment) rest(ctx context.Context, enough func(), live <-chan produced, show func(), look func() ([]obs.PipelineStatus, error)) (int64, error) {
	if err := x.until(ctx, "enough clicks", nil, func() (bool, error) {
		ends, err := x.ends(ctx)
		n := int64(0)
		for _, end := range ends {
			n += end
		}
		return n >= x.f.records, err
	}); err != nil {
		return 0, err
	}
	enough()
	sent := <-live
	if sent.err != nil {
		return 0, sent.err
	}
	err := x.until(ctx, "all clicks to be loaded", show, func() (bool, error) {
		all, err := look()
		if err != nil {
			return false, err
		}
		ends, err := x.ends(ctx)
		return lag(one(all, archiver), ends) == 0 && lag(one(all, secondStore), ends) == 0, err
	})
	show()
	return sent.n, err
}
