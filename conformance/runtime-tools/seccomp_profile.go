package generate

import (
	"os"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-tools/generate/seccomp"
)

// seccompProfile replaces the default of every test's config, for runtimes without seccomp:
// with WITHOUT_SECCOMP in the environment there is none.
func seccompProfile(config *rspec.Spec) *rspec.LinuxSeccomp {
	if os.Getenv("WITHOUT_SECCOMP") != "" {
		return nil
	}
	return seccomp.DefaultProfile(config)
}
