/** C#: a verbatim string, in which only the quote must be doubled. */

/** @type {Language} */
export const csharp = {
  name: "C#",
  file: "Program.cs",
  needs: "Any .NET: the Program.cs of `dotnet new console`. Mono too: mcs -r:System.Net.Http.dll Program.cs",
  write: ({ base, slug, json, answer }) => `using System;
using System.IO;
using System.Net.Http;
using System.Text;
using System.Threading.Tasks;

class Program
{
    const string Body = @"${json.replaceAll('"', '""')}";

    static void Main() => Run().GetAwaiter().GetResult();

    static async Task Run()
    {
        using (var client = new HttpClient { Timeout = TimeSpan.FromMinutes(5) })
        {
            client.DefaultRequestHeaders.Add("x-api-key", Environment.GetEnvironmentVariable("SEGMIND_API_KEY"));
            var body = new StringContent(Body, Encoding.UTF8, "application/json");
            var response = await client.PostAsync("${base}/v1/${slug}", body);
            if (!response.IsSuccessStatusCode) throw new Exception(await response.Content.ReadAsStringAsync());
            File.WriteAllBytes("${answer}", await response.Content.ReadAsByteArrayAsync());
        }
    }
}
`,
};
