/** Go: raw strings end at a backtick, so that one is joined on. */

/** @type {Language} */
export const go = {
  name: "Go",
  file: "main.go",
  needs: "Go 1.16 or later; nothing but its standard library.",
  write: ({ base, slug, json, answer }) => `package main

import (
	"io"
	"log"
	"net/http"
	"os"
	"strings"
)

const body = \`${json.replaceAll("`", '` + "`" + `')}\`

func main() {
	request, err := http.NewRequest("POST", "${base}/v1/${slug}", strings.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("x-api-key", os.Getenv("SEGMIND_API_KEY"))
	request.Header.Set("content-type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		log.Fatalf("%d: %s", response.StatusCode, answer)
	}
	if err := os.WriteFile("${answer}", answer, 0o644); err != nil {
		log.Fatal(err)
	}
}
`,
};
