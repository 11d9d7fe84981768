package remote

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// StatusError is an answer whose status is not 200. Its body is nobody's to see.
type StatusError int

func (e StatusError) Error() string { return fmt.Sprintf("the answer is %d", int(e)) }

// Get gives the body of an answer, which the client bounds. It asks with a bearer token unless that is empty. The error may be a
// StatusError.
func Get(ctx context.Context, client *http.Client, address, bearer string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	request.Header.Set("Accept", "application/json, */*;q=0.5") // a load balancer's keys are no JSON
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, StatusError(response.StatusCode)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return body, nil
}
