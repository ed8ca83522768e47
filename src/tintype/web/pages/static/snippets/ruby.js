/** Ruby: a heredoc in single quotes, in which nothing is escaped. */

/** @type {Language} */
export const ruby = {
  name: "Ruby",
  file: "generate.rb",
  needs: "Ruby 2.7 or later; nothing but its standard library.",
  write: ({ base, slug, json, answer }) => `require "net/http"

body = <<~'JSON'
${json.replaceAll(/^/gm, "  ")}
JSON
uri = URI("${base}/v1/${slug}")
request = Net::HTTP::Post.new(uri, "x-api-key" => ENV.fetch("SEGMIND_API_KEY"), "content-type" => "application/json")
request.body = body
response = Net::HTTP.start(uri.host, uri.port, use_ssl: uri.scheme == "https", read_timeout: 300) do |http|
  http.request(request)
end
abort response.body unless response.is_a?(Net::HTTPSuccess)
File.binwrite("${answer}", response.body)
`,
};
