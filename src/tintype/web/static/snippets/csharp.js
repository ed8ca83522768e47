/** C#: a raw string, in which nothing is escaped: JSON never has three quotes in a row. */

export const csharp = {
  name: "C#", file: "Program.cs", needs: ".NET 7 or later: the Program.cs of `dotnet new console`.",
  write: ({ base, slug, json, answer }) => `using System.Text;

var body = """
${json.replaceAll(/^/gm, "    ")}
    """;
using var client = new HttpClient { Timeout = TimeSpan.FromMinutes(5) };
client.DefaultRequestHeaders.Add("x-api-key", Environment.GetEnvironmentVariable("SEGMIND_API_KEY"));
var response = await client.PostAsync("${base}/v1/${slug}",
    new StringContent(body, Encoding.UTF8, "application/json"));
if (!response.IsSuccessStatusCode) throw new Exception(await response.Content.ReadAsStringAsync());
await File.WriteAllBytesAsync("${answer}", await response.Content.ReadAsByteArrayAsync());
`,
};
