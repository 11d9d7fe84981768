package remote

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// largestCAFile is in bytes; all the authorities of a Linux distribution have some 200 KB.
const largestCAFile = 4 << 20

// TLS is how directories, providers and key sets are reached: by TLS 1.2 or newer, with certificates of the authorities in the
// file (PEM) and of no others. With no file they are those of the machine.
func TLS(caFile string) (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return settings, nil
	}
	info, err := os.Stat(caFile)
	if err != nil {
		return nil, fmt.Errorf("read the CA certificates: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > largestCAFile {
		return nil, fmt.Errorf("%s is no file of at most 4 MiB", caFile)
	}
	pem, err := os.ReadFile(caFile) //nolint:gosec // the path comes from the operator's own configuration
	if err != nil {
		return nil, fmt.Errorf("read the CA certificates: %w", err)
	}
	settings.RootCAs = x509.NewCertPool()
	if !settings.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM form", caFile)
	}
	return settings, nil
}
