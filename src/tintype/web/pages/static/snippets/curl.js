/** curl: what a shell needs is single quotes, and a way to write one inside them. */

const quoted = (/** @type {string} */ text) => `'${text.replaceAll("'", "'\\''")}'`;

/** @type {Language} */
export const curl = {
  name: "curl",
  file: "generate.sh",
  needs: "Any shell with curl.",
  write: ({ base, slug, json, answer }) => `curl --fail-with-body ${base}/v1/${slug} \\
  -H "x-api-key: $SEGMIND_API_KEY" \\
  -H "content-type: application/json" \\
  -d ${quoted(json)} \\
  -o ${answer}
`,
};

/** @type {Language} */
export const curlQueue = {
  name: "curl, queued",
  file: "queue.sh",
  needs: "Any shell with curl and sed.",
  write: ({ base, slug, json }) => `# Submit, ask until it has ended, print the result.
status_url=$(curl -sS --fail-with-body ${base}/v2/${slug} \\
  -H "x-api-key: $SEGMIND_API_KEY" \\
  -H "content-type: application/json" \\
  -d ${quoted(json)} | sed -n 's/.*"status_url":"\\([^"]*\\)".*/\\1/p')
while curl -sS "$status_url" -H "x-api-key: $SEGMIND_API_KEY" | grep -qE '"status":"(QUEUED|PROCESSING)"'; do
  sleep 1
done
curl -sS --fail-with-body "\${status_url%/status}" -H "x-api-key: $SEGMIND_API_KEY"
`,
};
