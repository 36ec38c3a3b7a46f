package localdb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Temp is a folder in the temporary folder of the machine that goes with the process, though a process that was killed cannot remove
// it: Sweep of a later one does. While a process lives it holds a lock on a file beside the folder, NAME.lock. The file is there before the
// folder, and goes after it.
type Temp struct {
	Dir  string
	lock *os.File
}

const lockSuffix = ".lock"

// NewTemp makes a folder whose name begins with a prefix.
func NewTemp(prefix string) (*Temp, error) {
	for {
		lock, err := os.CreateTemp("", prefix+"*"+lockSuffix)
		if err != nil {
			return nil, err
		}
		t := &Temp{Dir: strings.TrimSuffix(lock.Name(), lockSuffix), lock: lock}
		if locked, err := t.acquire(); err != nil || !locked { // a sweep was faster
			if err = errors.Join(err, lock.Close()); err != nil {
				return nil, err
			}
			continue
		}
		if err := os.Mkdir(t.Dir, 0o700); err != nil {
			return nil, errors.Join(err, t.Remove())
		}
		return t, nil
	}
}

// acquire locks the file; false: another one has it, or has removed it meanwhile.
func (t *Temp) acquire() (bool, error) {
	err := syscall.Flock(int(t.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("locking %s: %w", t.lock.Name(), err)
	}
	mine, err := t.lock.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Stat(t.lock.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(mine, there), err
}

// Remove removes the folder.
func (t *Temp) Remove() error {
	err := os.RemoveAll(t.Dir)
	if err == nil { // else a sweep tries it again
		err = os.Remove(t.lock.Name())
	}
	return errors.Join(err, t.lock.Close())
}

// Sweep removes the folders with a prefix whose processes have ended, and tells which.
func Sweep(prefix string) (removed []string, err error) {
	locks, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"+lockSuffix))
	if err != nil {
		return nil, err
	}
	var all []error
	for _, name := range locks {
		lock, err := os.OpenFile(name, os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) { // another user's
			continue
		}
		if err != nil {
			all = append(all, err)
			continue
		}
		t := &Temp{Dir: strings.TrimSuffix(name, lockSuffix), lock: lock}
		switch mine, err := t.acquire(); {
		case err != nil || !mine:
			all = append(all, err, lock.Close())
		default:
			if err := t.Remove(); err != nil {
				all = append(all, err)
				continue
			}
			removed = append(removed, t.Dir)
		}
	}
	return removed, errors.Join(all...)
}
