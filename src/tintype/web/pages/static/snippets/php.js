/** PHP: a nowdoc, in which nothing is escaped. */

/** @type {Language} */
export const php = {
  name: "PHP",
  file: "generate.php",
  needs: "PHP 7.3 or later with its curl extension.",
  write: ({ base, slug, json, answer }) => `<?php
$body = <<<'JSON'
${json}
JSON;
$call = curl_init('${base}/v1/${slug}');
curl_setopt_array($call, [
    CURLOPT_POSTFIELDS => $body,
    CURLOPT_HTTPHEADER => ['x-api-key: ' . getenv('SEGMIND_API_KEY'), 'content-type: application/json'],
    CURLOPT_RETURNTRANSFER => true,
]);
$answer = curl_exec($call);
if ($answer === false || curl_getinfo($call, CURLINFO_HTTP_CODE) !== 200) {
    exit($answer === false ? curl_error($call) : $answer);
}
file_put_contents('${answer}', $answer);
`,
};
